"""dramatiq on Redis."""

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.job import ran

broker = RedisBroker(url=os.environ["BENCH_REDIS"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_REDIS"])))
dramatiq.set_broker(broker)

SIZES = {"threads": (1, 10), "processes": (2, 1), "greenlets": (1, 100)}


@dramatiq.actor
def noop() -> None:
    """Do nothing."""
    ran()


@dramatiq.actor(store_results=True)
def echo(number: int) -> int:
    """Return the argument."""
    return number


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.send()


def enqueue_bulk(count: int) -> None:
    dramatiq.group(noop.message() for _ in range(count)).run()


def call(number: int) -> int:
    return echo.send(number).get_result(block=True, timeout=60_000)


def gather(count: int) -> list[int]:
    group = dramatiq.group(echo.message(number) for number in range(count)).run()
    return list(group.get_results(block=True, timeout=60_000))


def left() -> int:
    return broker.client.hlen(f"dramatiq:{noop.queue_name}.msgs")


def worker(form: str) -> list[list[str]]:
    processes, threads = SIZES[form]
    # dramatiq's command for greenlets applies gevent's patches before all other imports.
    module = "dramatiq.__main__" if form == "greenlets" else "dramatiq"
    start = [sys.executable, "-m", module]
    if form == "greenlets":
        start = [os.path.join(os.path.dirname(sys.executable), "dramatiq-gevent")]
    return [[*start, __name__, "--processes", str(processes), "--threads", str(threads)]]

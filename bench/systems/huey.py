"""huey on Redis."""

import os
import sys

from huey import RedisHuey

from bench.job import ran

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"], notify_result=True)

SIZES = {"threads": ("thread", 10), "processes": ("process", 2), "greenlets": ("greenlet", 100)}


@huey.task()
def noop() -> None:
    """Do nothing."""
    ran()


@huey.task()
def echo(number: int) -> int:
    """Return the argument."""
    return number


def enqueue(count: int) -> None:
    for _ in range(count):
        noop()


def enqueue_bulk(count: int) -> None:
    noop.map([()] * count)


def call(number: int) -> int:
    return echo(number).get(blocking=True, timeout=60)


def gather(count: int) -> list[int]:
    return echo.map(range(count)).get(blocking=True, timeout=60)


def left() -> int:
    # Redis does not record the tasks that a worker has taken.
    return huey.storage.queue_size()


def worker(form: str) -> list[list[str]]:
    kind, size = SIZES[form]
    consumer = os.path.join(os.path.dirname(sys.executable), "huey_consumer")
    return [[sys.executable, consumer, f"{__name__}.huey", "-k", kind, "-w", str(size)]]

"""Plain Celery, with its defaults or tuned as its optimizing guide recommends."""

import os
import sys

from celery import Celery, group

from bench.job import ran

TUNED = os.environ.get("BENCH_VARIANT") == "tuned"

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
if TUNED:
    app.conf.update(worker_prefetch_multiplier=32, result_backend_thread_safe=True)

POOLS = {"threads": ("threads", 10), "processes": ("prefork", 2), "greenlets": ("gevent", 100)}


@app.task(ignore_result=TUNED)
def noop() -> None:
    """Do nothing."""
    ran()


@app.task
def echo(number: int) -> int:
    """Return the argument."""
    return number


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.delay()


def enqueue_bulk(count: int) -> None:
    if not TUNED:
        group(noop.si() for _ in range(count)).delay()
        return
    with app.producer_pool.acquire(block=True) as producer, producer.batch(max_size=500):
        for _ in range(count):
            noop.apply_async(producer=producer)


def call(number: int) -> int:
    return echo.delay(number).get()


def gather(count: int) -> list[int]:
    return group(echo.s(number) for number in range(count)).delay().get()


def left() -> int:
    with app.connection_for_write() as connection:
        client = connection.default_channel.client
        return client.llen("celery") + client.hlen("unacked")


def worker(form: str) -> list[list[str]]:
    pool, size = POOLS[form]
    command = [sys.executable, "-m", "celery", "-A", __name__, "worker"]
    command += ["--pool", pool, "--concurrency", str(size)]
    if TUNED:
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [command]

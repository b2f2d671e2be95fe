"""This project: ordinary Celery tasks on its application, and calls through its pool."""

import functools
import sys
import uuid

from bench.job import ran
from shared import publishing
from shared.app import app
from shared.multiprocessing.pool import Pool
from shared.pools import PoolKind
from shared.store import store
from worker import celery  # noqa: F401 - what makes a worker of the application

KINDS = {
    "threads": (PoolKind.THREADS, 10),
    "processes": (PoolKind.PREFORK, 2),
    "greenlets": (PoolKind.GEVENT, 100),
}


@app.task(ignore_result=True)
def noop() -> None:
    """Do nothing."""
    ran()


def echo(number: int) -> int:
    """Give it back."""
    return number


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.apply_async(queue=PoolKind.THREADS.value)


def enqueue_bulk(count: int) -> None:
    template = publishing.Template(noop.name, PoolKind.THREADS.value, ignore_result=True)
    for start in range(0, count, 500):
        ids = [str(uuid.uuid4()) for _ in range(min(500, count - start))]
        publishing.push(template.queue, [template.render(task_id, (), {}) for task_id in ids])


@functools.lru_cache(maxsize=1)
def pool() -> Pool:
    return Pool(kind=PoolKind.THREADS)


def call(number: int) -> int:
    return pool().apply(echo, (number,))


def gather(count: int) -> list[int]:
    results = [pool().apply_async(echo, (number,)) for number in range(count)]
    return [result.get() for result in results]


def left() -> int:
    client = store()
    taken = sum(client.hlen(key) for key in client.scan_iter("taken:*"))
    return client.llen(PoolKind.THREADS.value) + taken


def worker(form: str) -> list[list[str]]:
    kind, size = KINDS[form]
    command = [sys.executable, "-m", "celery", "-A", __name__, "worker"]
    # One queue for all forms: what is compared is the worker.
    command += ["--pool", kind.value, "--concurrency", str(size)]
    command += ["--queues", PoolKind.THREADS.value, "--without-mingle"]
    return [command]

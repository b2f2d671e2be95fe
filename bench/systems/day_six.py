"""This project: ordinary Celery tasks on its application, and calls through its pool."""

import functools
import multiprocessing
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from bench.job import ran
from shared import publishing
from shared.app import app
from shared.broker.connections import store
from shared.broker.keys import new_id
from shared.laboratory import workloads
from shared.multiprocessing.pool import Pool
from shared.pools import PoolKind
from worker import celery  # noqa: F401 - what makes a worker of the application

KINDS = {
    "threads": (PoolKind.THREADS, 10),
    "processes": (PoolKind.PREFORK, 2),
    "greenlets": (PoolKind.GEVENT, 100),
    "maps": (PoolKind.PREFORK, 2),
}


@app.task(ignore_result=True)
def noop() -> None:
    """Do nothing."""
    ran()


@app.task(ignore_result=True)
def pause(seconds: float) -> None:
    """Wait, like a task that waits for a socket."""
    time.sleep(seconds)
    ran()


def echo(number: int) -> int:
    """Return the argument."""
    return number


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.apply_async(queue=PoolKind.THREADS.value)


def enqueue_bulk(count: int) -> None:
    _send(noop.name, (), count, PoolKind.THREADS.value)


def fill(task: str, args: tuple[Any, ...], count: int) -> None:
    """Put this many tasks into an empty queue at once."""
    aside = f"{PoolKind.THREADS.value}:aside"
    _send(task, args, count, aside)
    store().rename(aside, PoolKind.THREADS.value)


def _send(task: str, args: tuple[Any, ...], count: int, to: str) -> None:
    """Enqueue tasks like ``producer send --count``."""
    template = publishing.Template(task, PoolKind.THREADS.value, ignore_result=True)
    for start in range(0, count, publishing.BATCH):
        ids = [new_id() for _ in range(min(publishing.BATCH, count - start))]
        publishing.push(to, [template.render(task_id, args, {}) for task_id in ids])


@functools.lru_cache(maxsize=1)
def pool() -> Pool:
    return Pool(kind=PoolKind.THREADS)


def call(number: int) -> int:
    return pool().apply(echo, (number,))


def gather(count: int) -> list[int]:
    results = [pool().apply_async(echo, (number,)) for number in range(count)]
    return [result.get() for result in results]


@functools.lru_cache(maxsize=1)
def map_pools() -> tuple[Any, Pool]:
    """Return the times of a local pool and of ours, with two processes each."""
    # Create the local pool first, because it forks this process.
    return multiprocessing.Pool(2), Pool()


def maps(items: int, ways: dict[str, int | None]) -> dict[str, float]:
    local, ours = map_pools()
    runs: dict[str, Callable[[], list[int]]] = {
        "ours": lambda: ours.map(workloads.noop, range(items)),
        **{
            way: functools.partial(local.map, workloads.noop, range(items), chunksize)
            for way, chunksize in ways.items()
        },
    }
    seconds = {}
    for name, run in runs.items():
        started = time.perf_counter()
        found = run()
        seconds[name] = time.perf_counter() - started
        if found != list(range(items)):
            raise ValueError("results are missing, wrong or out of order")
    return seconds


def left() -> int:
    client = store()
    taken = sum(client.hlen(key) for key in client.scan_iter("taken:*"))
    return client.llen(PoolKind.THREADS.value) + taken


def worker(form: str) -> list[list[str]]:
    kind, size = KINDS[form]
    command = [sys.executable, "-m", "celery", "-A", __name__, "worker"]
    # All forms use the same queue, so that only the workers differ.
    queue = kind if form == "maps" else PoolKind.THREADS
    command += ["--pool", kind.value, "--concurrency", str(size)]
    command += ["--queues", queue.value, "--without-mingle"]
    # Each worker needs a unique name.
    command += ["--hostname", f"{kind.value}-{uuid.uuid4().hex[:8]}@%h"]
    return [command]

"""SAQ on Redis."""

import asyncio
import os
import sys
from typing import Any

from saq import Queue

from bench.job import ran

queue = Queue.from_url(os.environ["BENCH_REDIS"])
SIZES = {"threads": (1, 10), "processes": (2, 1), "greenlets": (1, 100)}


async def noop(_: Any) -> None:
    """Do nothing."""
    ran()


async def echo(_: Any, *, number: int) -> int:
    """Return the argument."""
    return number


settings = {
    "queue": queue,
    "functions": [noop, echo],
    "concurrency": int(os.environ.get("BENCH_JOBS", "10")),
}


async def start() -> None:
    await queue.connect()


async def enqueue(count: int) -> None:
    for _ in range(count):
        await queue.enqueue("noop", ttl=-1)


async def enqueue_bulk(count: int) -> None:
    await asyncio.gather(*(queue.enqueue("noop", ttl=-1) for _ in range(count)))


async def call(number: int) -> int:
    return await queue.apply("echo", poll_interval=0.001, number=number)


async def gather(count: int) -> list[int]:
    arguments = [{"number": number} for number in range(count)]
    return await queue.map("echo", arguments, poll_interval=0.001)


async def left() -> int:
    return await queue.count("incomplete")


def worker(form: str) -> list[list[str]]:
    processes, jobs = SIZES[form]
    env = ["env", f"BENCH_JOBS={jobs}"]
    command = [sys.executable, "-m", "saq", f"{__name__}.settings"]
    return [[*env, *command, "--workers", str(processes)]]

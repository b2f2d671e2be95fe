"""arq."""

import asyncio
import os
import sys
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

from bench.job import ran

SETTINGS = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])
SIZES = {"threads": (1, 10), "processes": (2, 1), "greenlets": (1, 100)}


async def noop(_: Any) -> None:
    """Do nothing."""
    ran()


async def echo(_: Any, number: int) -> int:
    """Return the argument."""
    return number


class WorkerSettings:
    """The settings of the worker that arq's command line starts."""

    functions = (func(noop, keep_result=0), echo)
    redis_settings = SETTINGS
    poll_delay = 0.01
    max_jobs = int(os.environ.get("BENCH_JOBS", "10"))


class _Pool:
    pool: ArqRedis


async def start() -> None:
    _Pool.pool = await create_pool(SETTINGS)


async def enqueue(count: int) -> None:
    for _ in range(count):
        await _Pool.pool.enqueue_job("noop")


async def enqueue_bulk(count: int) -> None:
    # Each job uses a connection while it watches its key.
    for first in range(0, count, 100):
        jobs = range(min(100, count - first))
        await asyncio.gather(*(_Pool.pool.enqueue_job("noop") for _ in jobs))


async def call(number: int) -> int:
    job = await _Pool.pool.enqueue_job("echo", number)
    return await job.result(timeout=60, poll_delay=0.001)


async def gather(count: int) -> list[int]:
    jobs = [await _Pool.pool.enqueue_job("echo", number) for number in range(count)]
    return [await job.result(timeout=60, poll_delay=0.001) for job in jobs]


async def left() -> int:
    return await _Pool.pool.zcard(_Pool.pool.default_queue_name)


def worker(form: str) -> list[list[str]]:
    processes, jobs = SIZES[form]
    env = ["env", f"BENCH_JOBS={jobs}"]
    return [[*env, sys.executable, "-m", "arq", f"{__name__}.WorkerSettings"]] * processes

"""taskiq on Redis streams."""

import asyncio
import os
import sys

from redis.asyncio import Redis
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench.job import ran

broker = RedisStreamBroker(os.environ["BENCH_REDIS"])
if os.environ["BENCH_RESULTS"] == "1":
    broker = broker.with_result_backend(
        RedisAsyncResultBackend(os.environ["BENCH_REDIS"], result_ex_time=3600)
    )

SIZES = {"threads": (1, 10), "processes": (2, 1), "greenlets": (1, 100)}


@broker.task
async def noop() -> None:
    """Do nothing."""
    ran()


@broker.task
async def echo(number: int) -> int:
    """Return the argument."""
    return number


async def start() -> None:
    await broker.startup()


async def enqueue(count: int) -> None:
    for _ in range(count):
        await noop.kiq()


async def enqueue_bulk(count: int) -> None:
    # With more at once, some wait too long for a connection and fail.
    for first in range(0, count, 1_000):
        tasks = range(min(1_000, count - first))
        await asyncio.gather(*(noop.kiq() for _ in tasks))


async def call(number: int) -> int:
    task = await echo.kiq(number)
    return (await task.wait_result(check_interval=0.001, timeout=60)).return_value


async def gather(count: int) -> list[int]:
    tasks = [await echo.kiq(number) for number in range(count)]
    return [
        (await task.wait_result(check_interval=0.001, timeout=60)).return_value for task in tasks
    ]


async def left() -> int:
    async with Redis(connection_pool=broker.connection_pool) as client:
        groups = await client.xinfo_groups(broker.queue_name)
    return sum(group["pending"] + (group["lag"] or 0) for group in groups)


def worker(form: str) -> list[list[str]]:
    processes, tasks = SIZES[form]
    command = [sys.executable, "-m", "taskiq", "worker", f"{__name__}:broker"]
    return [[*command, "--workers", str(processes), "--max-async-tasks", str(tasks)]]

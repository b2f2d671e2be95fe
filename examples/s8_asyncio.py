"""S8: asyncio. Coroutines return values; one thread holds many that wait.

A coroutine is not a thread: it gives way only where it awaits. For files asyncio has no calls
of its own; there, `asyncio.to_thread` borrows a thread.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

WAITS = 50
SECONDS = 0.2


async def wait_async(number):
    await asyncio.sleep(SECONDS)
    return number, threading.get_ident()


def wait(number):
    time.sleep(SECONDS)
    return number, threading.get_ident()


async def gather():
    return await asyncio.gather(*(wait_async(number) for number in range(WAITS)))


def report(name, started, results):
    assert [number for number, _ in results] == list(range(WAITS))
    threads = len({thread for _, thread in results})
    print(f"{name}: {time.perf_counter() - started:.2f} s, threads: {threads}")


if __name__ == "__main__":
    started = time.perf_counter()
    report("asyncio", started, asyncio.run(gather()))
    with ThreadPoolExecutor(16) as executor:
        started = time.perf_counter()
        report("threads", started, list(executor.map(wait, range(WAITS))))

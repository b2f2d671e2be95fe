"""Threads that share memory: lambdas, locks, lists."""

import asyncio
import concurrent.futures
import multiprocessing.dummy
import multiprocessing.pool
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.pool import ThreadPool

seen = []
lock = threading.Lock()


def note(number):
    with lock:
        seen.append(os.getpid())
    return number


async def in_a_thread():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(2))
    return await asyncio.to_thread(note, 5)


# No guard: threads need none.
with ThreadPoolExecutor(3) as executor:
    futures = [executor.submit(lambda number=number: note(number)) for number in range(4)]
    print(sorted(future.result() for future in as_completed(futures)))
with ThreadPool(2) as pool:
    print(pool.map(note, range(3)))
with multiprocessing.pool.ThreadPool(2) as pool:
    print(pool.map(note, range(3)))
with multiprocessing.dummy.Pool(2) as pool:
    print(pool.map(lambda number: number + 1, range(3)))
print(asyncio.run(in_a_thread()))
print(len(seen), set(seen) == {os.getpid()})

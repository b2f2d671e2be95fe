"""S2: twenty tasks, never more than five at once, and every task returns a value."""

import multiprocessing
import os
import time


def printcount(count):
    print(f"count: {count} pid: {os.getpid()}", flush=True)
    time.sleep(1)
    return count, os.getpid()


def collect(pool):
    """Start all tasks at once, then wait for each result in order."""
    results = [pool.apply_async(func=printcount, args=(count,)) for count in range(20)]
    return [result.get() for result in results]


if __name__ == "__main__":
    started = time.time()
    with multiprocessing.Pool(5) as pool:
        for result in collect(pool):
            print("进程返回参数:", result)
    print("执行时间:", time.time() - started)

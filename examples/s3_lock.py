"""S3: the same twenty tasks, a lock around each: one at a time, whoever runs them."""

import multiprocessing
import os
import time


def printcount(count, lock):
    try:
        lock.acquire()
        print(f"count: {count} pid: {os.getpid()}")
        entered = time.time()
        time.sleep(1)
        return count, os.getpid(), entered, time.time()
    finally:
        lock.release()


if __name__ == "__main__":
    started = time.time()
    pool = multiprocessing.Pool(5)
    lock = multiprocessing.Manager().Lock()
    results = [pool.apply_async(func=printcount, args=(count, lock)) for count in range(20)]
    for result in results:
        print("进程返回参数:", result.get())
    print("执行时间:", time.time() - started)

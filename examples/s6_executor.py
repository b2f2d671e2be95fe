"""S6: two threads and a lock; the results come in the order of the calls."""

import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Manager


def work(i, lock):
    lock.acquire()
    try:
        print("i:", i)
        time.sleep(0.1)
        return i
    finally:
        lock.release()


if __name__ == "__main__":
    started = time.time()
    pool = ThreadPoolExecutor(2)
    lock = Manager().Lock()
    futures = [pool.submit(work, i, lock) for i in range(20)]
    results = [future.result() for future in futures]
    print("结果:", results)
    print("执行时间:", time.time() - started)

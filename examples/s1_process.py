"""S1: two processes count side by side: five steps of a second take five seconds, not ten."""

import multiprocessing
import os
import time


def work_a():
    for i in range(5):
        print(i, "a", "pid:", os.getpid())
        time.sleep(1)


def work_b():
    for i in range(5):
        print(i, "b", "pid:", os.getpid())
        time.sleep(1)


if __name__ == "__main__":
    started = time.time()
    processes = [multiprocessing.Process(target=work) for work in (work_a, work_b)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print("执行时间:", time.time() - started)
    print("主线程pid:", os.getpid())

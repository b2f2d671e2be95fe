"""Prints a part of a line, and waits until it was seen."""

import os
import sys
import time
from multiprocessing import Process


def show(path):
    print("half", end=" ", flush=True)
    deadline = time.monotonic() + 20
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    print("seen" if os.path.exists(path) else "alone")


if __name__ == "__main__":
    process = Process(target=show, args=(sys.argv[1],))
    process.start()
    process.join()

"""What the tests of processes and executors run on the workers."""

import asyncio
import os
import sys
import time

from shared import multiprocessing
from tests.integration.functions import add, boom, double, pid, slow  # noqa: F401


def shout(letter, times=1):
    for i in range(times):
        print(i, letter, os.getpid())


def leave(status):
    sys.exit(status)


def drop(status):
    os._exit(status)


def die(signum):
    os.kill(os.getpid(), signum)
    time.sleep(60)


def forever():
    while True:
        time.sleep(0.1)


def tick(path):
    while True:
        append(path, ".")
        time.sleep(0.1)


def append(path, text):
    with open(path, "a") as file:
        file.write(text)


def touch_and_wait(path, seconds):
    append(path, ".")
    time.sleep(seconds)
    return seconds


class Greeter(multiprocessing.Process):
    def __init__(self, whom):
        super().__init__()
        self.whom = whom

    def run(self):
        print("hello", self.whom, "from", multiprocessing.current_process().name)


class Counter:
    def __init__(self, start):
        self.start = start

    def add(self, number):
        print(self.start + number)


def start_child():
    multiprocessing.Process(target=pid).start()


_remembered = None
_times = 0


def remember(value):
    global _remembered, _times
    _remembered, _times = value, _times + 1 if _remembered != value else 1


def remembered(_):
    return _remembered, _times


async def wait_a_little(number):
    await asyncio.sleep(0.05)
    return number


def nested(kind):
    with multiprocessing.Pool(2, kind=kind) as pool:
        return pool.map(double, range(3))

"""Functions that the tests run on the workers."""

import asyncio
import os
import signal
import sys
import time


def double(number):
    return 2 * number


def add(left, right=0):
    return left + right


def boom(number):
    raise KeyError(number)


def pid():
    return os.getpid()


def slow(seconds):
    time.sleep(seconds)
    return seconds


def slow_for_even(number):
    """Later items overtake earlier ones."""
    time.sleep(0.0 if number % 2 else 0.03)
    return number


def interval(number, seconds):
    """When this call began and ended, by the clock that all processes of a machine share."""
    began = time.monotonic()
    time.sleep(seconds)
    return number, began, time.monotonic()


def odd_only(number):
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def same(value):
    return value


def open_file(_=None):
    return open(os.devnull)


def open_file_for_even(number):
    return open(os.devnull) if number % 2 == 0 else number


def leave(code):
    raise SystemExit(code)


def interrupt():
    raise KeyboardInterrupt


def kill_me():
    os.kill(os.getpid(), signal.SIGKILL)


def append(path, line):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def say(text):
    print(text)
    return text


async def nap(seconds):
    await asyncio.sleep(seconds)
    return seconds


started = []


def start_with(value):
    if value == "fail":
        raise RuntimeError("no start")
    started.append(value)


def what_started(_=None):
    return os.getpid(), started.copy()


class Custom(Exception):
    """An error of the caller's own."""


def raise_custom(text):
    raise Custom(text)


def open_pool_inside(kind, numbers):
    from shared import multiprocessing

    with multiprocessing.Pool(2, kind=kind) as pool:
        return pool.map(double, numbers)


def brief_interval(number):
    return interval(number, 0.03)


def megabytes(count):
    return bytes(count << 20)


def outlive(path, seconds):
    """Not ended by what is to end it."""
    append(path, "began")
    try:
        time.sleep(seconds)
    except SystemExit:
        return "still here"


def append_twice(path, seconds):
    append(path, "began")
    time.sleep(seconds)
    append(path, "ended")


def pid_of(_):
    return os.getpid()


def pid_noted_in(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return os.getpid()


def is_loaded(module):
    return module in sys.modules


def exhaust(_=None):
    raise MemoryError("too large")

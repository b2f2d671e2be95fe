"""Functions that the tests run on the workers."""

import os
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

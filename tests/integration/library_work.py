"""Functions that libraries hand to a pool: the module that docs/libraries.md shows."""

import os


def valley(x):
    return float(sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def log_probability(x, weights):
    return -0.5 * float((weights * x**2).sum())


def square(number):
    return number * number


def process_id(_):
    return os.getpid()


def total(array):
    return float(array.sum())


kept = []


def remember(array):
    kept[:] = [array]


def remembered(_):
    return float(kept[0].sum())

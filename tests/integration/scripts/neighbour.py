"""A module that a script of the same folder imports."""

import multiprocessing


def twice(number):
    return 2 * number


def everywhere(function, items):
    with multiprocessing.Pool(2) as pool:
        return pool.map(function, items)

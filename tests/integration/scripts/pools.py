"""Pools, as a script uses them that knows the standard library only."""

import multiprocessing as mp
import time
from collections import namedtuple
from functools import partial
from multiprocessing import TimeoutError as TooLate
from multiprocessing.dummy import Pool as DummyPool
from multiprocessing.pool import ThreadPool

from neighbour import everywhere, twice

Point = namedtuple("Point", "x y")  # noqa: PYI024 - as many scripts write it
factor = None


class Scale:
    def __init__(self, by):
        self.by = by

    def times(self, number):
        return self.by * number


def prepare(by):
    global factor  # noqa: PLW0603 - what an initializer is for
    factor = by


def prepared(number):
    return factor * number


def area(width, height):
    return width * height


def rest(seconds):
    time.sleep(seconds)
    return seconds


def refuse(number):
    raise ValueError(f"not {number}")


def mirror(point):
    return Point(point.y, point.x)


if __name__ == "__main__":
    print(mp.cpu_count() > 0)
    with mp.Pool(3) as pool:
        print(pool.map(twice, range(7), chunksize=2))
        print(pool.starmap(area, [(2, 3), (4, 5)]), pool.apply(area, (6,), {"height": 7}))
        print(list(pool.imap(twice, range(5))), sorted(pool.imap_unordered(twice, range(5))))
        print(pool.map(Scale(3).times, [1, 2]), pool.map(partial(area, 5), [6, 7]))
        print(pool.apply(mirror, (Point(1, 2),)))
        try:
            pool.apply_async(rest, (2,)).get(timeout=0.1)
        except TooLate:
            print("too late")
        try:
            pool.map(refuse, [4])
        except ValueError as error:
            print(repr(error), "refuse" in str(error.__cause__))
        heard = []
        pool.apply_async(twice, (8,), callback=heard.append).wait()
        pool.apply_async(refuse, (8,), error_callback=lambda error: heard.append(str(error))).wait()
        print(heard)
    try:
        pool.map(twice, [1])
    except ValueError as error:
        print(error)
    with mp.get_context("spawn").Pool(2, prepare, (10,)) as pool:
        print(pool.map(prepared, range(4)))
    with ThreadPool(2) as threads, DummyPool(2) as others:
        print(threads.map(twice, range(3)), others.map(twice, range(3)))
    print(everywhere(twice, [20, 21]))

"""A script whose name is no identifier, with a package beside it."""

from multiprocessing import Pool

from helpers.numbers import triple


def more(number):
    return triple(number) + 1


if __name__ == "__main__":
    with Pool(2) as pool:
        print(pool.map(more, range(3)), pool.map(triple, range(3)))

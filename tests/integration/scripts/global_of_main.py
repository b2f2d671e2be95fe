"""A function that reads a global which only the main program sets."""

import sys
from multiprocessing import Pool


def scaled(number):
    return number * factor


if __name__ == "__main__":
    factor = len(sys.argv)
    with Pool(2) as pool:
        print(pool.map(scaled, range(3)))

"""Reads its command line where it is defined, as short scripts do."""

import argparse
import multiprocessing
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--factor", type=int, default=1)
parser.add_argument("names", nargs="*")
args = parser.parse_args()


def scale(number: int) -> tuple[int, list[str], list[str]]:
    return number * args.factor, args.names, sys.argv[1:]


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print(pool.map(scale, range(4)))

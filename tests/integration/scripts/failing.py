"""Ends as its argument says, after a child has failed."""

import multiprocessing
import sys


def fail(word):
    raise KeyError(word)


def end(how):
    if how == "error":
        raise RuntimeError("my own")
    if how == "remote error":
        multiprocessing.Pool(1).apply(fail, ("remote",))
    sys.exit(how)


if __name__ == "__main__":
    print(__name__, sys.argv[1:], sys.argv[0].endswith("failing.py"))
    end(sys.argv[1])

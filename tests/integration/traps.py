"""Functions with a hidden trap, for `producer compare` to find."""

import ctypes
import os
import sys
import time

_kept = []


def blocks(item):
    """Waits where gevent cannot see it."""
    ctypes.CDLL(None).usleep(50_000)


def grows(item):
    _kept.append(os.urandom(2 * 1024 * 1024))
    time.sleep(0.001)


def raises_on_17(item):
    if item == 17:
        raise ValueError("seventeen")
    time.sleep(0.001)
    return item


def returns_50_mb(item):
    return b"x" * 50_000_000


def dies(item):
    if item == 3 and "producer.laboratory.local" in " ".join(sys.orig_argv):
        os._exit(7)
    time.sleep(0.01)

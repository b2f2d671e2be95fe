"""Twelve tasks whose best pool is known beforehand, for `bench.truth`."""

import ctypes
import hashlib
import time

ITEM_S = 0.06
# Longer than ITEM_S, so that sending does not limit a gevent worker's concurrency.
WAIT_S = 0.25
_LARGE = bytes(8 * 1024 * 1024)


def _compute(seconds: float) -> None:
    """Use this much processor time while holding the GIL, however busy the machine is."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(200))


def _compute_in_c(seconds: float) -> None:
    """Use this much processor time without holding the GIL."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(_LARGE[: 1024 * 1024])


def _mix(share: float, item_s: float = ITEM_S) -> None:
    _compute(item_s * share)
    time.sleep(item_s * (1 - share))


def computes_all(item: int) -> None:
    _mix(1.0)


def computes_nine_tenths(item: int) -> None:
    _mix(0.9)


def computes_three_quarters(item: int) -> None:
    _mix(0.75)


def computes_half(item: int) -> None:
    _mix(0.5)


def computes_a_third(item: int) -> None:
    _mix(0.33)


def computes_a_fiftieth(item: int) -> None:
    _mix(0.02, WAIT_S)


def waits(item: int) -> None:
    time.sleep(WAIT_S)


def waits_long(item: int) -> None:
    time.sleep(0.4)


def waits_in_c(item: int) -> None:
    """Wait in C code, where gevent cannot switch greenlets."""
    ctypes.CDLL(None).usleep(int(WAIT_S * 1e6))


def computes_in_c(item: int) -> None:
    _compute_in_c(ITEM_S)


def waits_with_memory(item: int) -> int:
    held = bytearray(b"x" * (4 * 1024 * 1024))
    time.sleep(WAIT_S)
    return len(held)


def computes_with_memory(item: int) -> int:
    held = bytearray(b"x" * (4 * 1024 * 1024))
    _compute(ITEM_S)
    return len(held)

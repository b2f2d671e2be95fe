"""The ready-made work of `producer compare`: each function does one item of its kind.

The item is only a number; it makes no item dearer than another.
"""

import asyncio
import hashlib
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from shared.settings import current
from shared.tasks import count_primes

WAIT_S = 0.1
_PRIMES_BELOW = 80_000
_HASHED_BYTES = 32 * 1024 * 1024
_FILE_BYTES = 256 * 1024


def cpu(item: int) -> int:
    """Count primes in pure Python: holds the GIL all the time."""
    return count_primes(_PRIMES_BELOW)


def numeric(item: int) -> str:
    """Hash a large buffer: computes in C, without the GIL."""
    return hashlib.sha256(_buffer()).hexdigest()


def io(item: int) -> int:
    """Get a page of the stack's own slow endpoint: waits for a socket."""
    with _direct.open(current().fetch_url, timeout=30) as response:
        return len(response.read())


def file(item: int) -> int:
    """Write a file, have it reach the disk, read it again."""
    with tempfile.TemporaryFile() as opened:
        opened.write(os.urandom(_FILE_BYTES))
        opened.flush()
        os.fsync(opened.fileno())
        opened.seek(0)
        return len(opened.read())


def mixed(item: int) -> int:
    """Compute some, then wait three times as long."""
    found = count_primes(_PRIMES_BELOW // 4)
    time.sleep(0.03)
    return found


def sleep(item: int) -> float:
    """Only wait."""
    time.sleep(WAIT_S)
    return WAIT_S


def noop(item: int) -> int:
    """Do nothing: what is measured then is the executor itself."""
    return item


async def sleep_async(item: int) -> float:
    """`sleep` as a coroutine."""
    await asyncio.sleep(WAIT_S)
    return WAIT_S


async def io_async(item: int) -> int:
    """`io` as a coroutine."""
    url = urlsplit(current().fetch_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
    try:
        target = url.path + (f"?{url.query}" if url.query else "")
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {url.hostname}\r\n\r\n".encode())
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise OSError(f"{current().fetch_url!r} answered {head[:60]!r}")
    return len(body)


WORKLOADS: dict[str, Callable[[int], Any]] = {
    function.__name__: function for function in (cpu, numeric, io, file, mixed, sleep)
}
# What asyncio runs instead, since a plain function would hold its loop.
COROUTINES: dict[Callable[[int], Any], Callable[[int], Any]] = {io: io_async, sleep: sleep_async}


@lru_cache(maxsize=1)
def _buffer() -> bytes:
    return bytes(_HASHED_BYTES)


# The caller's proxy knows nothing of our endpoint.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

"""The ready-made tasks: ordinary Celery tasks, as one writes one's own.

The producer knows them without asking a worker, since both have this module.
"""

import math
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from celery import shared_task
from pydantic import Field, NonNegativeInt

from shared.pools import PoolKind
from shared.settings import current
from shared.tasks import contracts
from shared.tasks.contracts import Contract

Function = Callable[..., Any]
# No longer than Python can wait.
Seconds = Annotated[float, Field(ge=0, le=threading.TIMEOUT_MAX)]

CONTRACTS: dict[str, Contract] = {}


def ready_made(pool: PoolKind, **options: Any) -> Callable[[Function], Any]:
    """Make a function a task of its own name that usually runs on this pool.

    Options are those of `Celery.task`: autoretry_for, time_limit …
    """

    def register(function: Function) -> Any:
        name = function.__name__
        CONTRACTS[name] = contracts.of(function, name, pool.value)
        return shared_task(name=name, **options)(function)

    return register


@ready_made(PoolKind.PREFORK)
def printcount(count: int) -> tuple[int, int]:
    """Print the count and the process id, wait a second, return both (the tutorial's pool)."""
    print(f"count: {count} pid: {os.getpid()}")
    time.sleep(1)
    return count, os.getpid()


@ready_made(PoolKind.PREFORK)
def count_steps(label: str = "a", steps: NonNegativeInt = 5, interval_s: Seconds = 1.0) -> int:
    """Print one numbered step each interval, as the tutorial's two processes do."""
    for step in range(steps):
        print(step, label, "pid:", os.getpid())
        time.sleep(interval_s)
    return os.getpid()


@ready_made(PoolKind.PREFORK)
def primes(below: NonNegativeInt) -> int:
    """Count the primes below a number in pure Python: CPU work that holds the GIL."""
    return count_primes(below)


@ready_made(
    PoolKind.GEVENT,
    # The server was not there; what it answered (HTTPError) stays as it is.
    autoretry_for=(urllib.error.URLError, ConnectionError, TimeoutError),
    dont_autoretry_for=(urllib.error.HTTPError,),
    retry_backoff=True,
    retry_jitter=True,
    max_retries=3,
)
def fetch(url: str = "") -> dict[str, Any]:
    """Get a URL that the settings allow (default FETCH_URL); return status, bytes and seconds."""
    url = url or current().fetch_url
    check_url(url)
    started = time.monotonic()
    with _opener.open(url, timeout=30) as response:
        size = len(response.read(16 * 1024 * 1024))
        status = response.status
    return {"url": url, "status": status, "bytes": size, "seconds": time.monotonic() - started}


@ready_made(PoolKind.PREFORK)
def fail(message: str = "failed on request") -> None:
    """Raise ValueError with the message, to see how a failure looks."""
    raise ValueError(message)


@ready_made(PoolKind.THREADS)
def sleep(seconds: Seconds) -> float:
    """Wait that many seconds, return them."""
    if math.isnan(seconds):
        raise ValueError("nan seconds never end")  # with gevent, no greenlet would run again
    time.sleep(seconds)
    return seconds


def count_primes(below: int) -> int:
    """Count the primes below the limit, by trial division in pure Python."""
    found: list[int] = []
    for number in range(2, below):
        for prime in found:
            if prime * prime > number:
                found.append(number)
                break
            if number % prime == 0:
                break
        else:
            found.append(number)
    return len(found)


def check_url(url: str) -> None:
    """Raise PermissionError unless the settings allow this URL."""
    settings = current()
    prefixes = [settings.fetch_url, *filter(None, map(str.strip, settings.fetch_allow.split(",")))]
    wanted = urlsplit(url)
    if ".." in unquote(wanted.path).split("/"):
        raise PermissionError(f"{url!r} leads upwards, where no URL of FETCH_ALLOW does")
    for prefix in map(urlsplit, prefixes):
        # Compare the parts: "http://good" must not allow "http://good.evil" or "http://good@evil".
        if (wanted.scheme, wanted.netloc) == (
            prefix.scheme,
            prefix.netloc,
        ) and wanted.path.startswith(prefix.path):
            return
    raise PermissionError(f"{url!r} is not among the URLs of FETCH_ALLOW")


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could lead to a URL that is not allowed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _StayHere)

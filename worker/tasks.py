"""The ready-made tasks. Their names and arguments stand in `shared.tasks`."""

import inspect
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import NonNegativeInt

from shared import tasks as contracts
from shared.app import app
from shared.laboratory import workloads
from shared.settings import current


def implements(stub: contracts.Function, **options: Any) -> Callable[[contracts.Function], Any]:
    """Register a function as the task that the stub declares; their signatures must agree.

    Options are those of `Celery.task`: autoretry_for, time_limit …
    """
    contract = contracts.CONTRACTS[stub.__name__]

    def register(function: contracts.Function) -> Any:
        if inspect.signature(function) != contract.signature:
            raise TypeError(f"{function.__name__} does not fit its contract {contract.signature}")
        return app.task(
            name=contract.name,
            **options,
        )(function)

    return register


@implements(contracts.printcount)
def printcount(count: int) -> tuple[int, int]:
    print(f"count: {count} pid: {os.getpid()}")
    time.sleep(1)
    return count, os.getpid()


@implements(contracts.count_steps)
def count_steps(
    label: str = "a", steps: NonNegativeInt = 5, interval_s: contracts.Seconds = 1.0
) -> int:
    for step in range(steps):
        print(step, label, "pid:", os.getpid())
        time.sleep(interval_s)
    return os.getpid()


@implements(contracts.primes)
def primes(below: NonNegativeInt) -> int:
    return workloads.count_primes(below)


@implements(
    contracts.fetch,
    # The server was not there; what it answered (HTTPError) stays as it is.
    autoretry_for=(urllib.error.URLError, ConnectionError, TimeoutError),
    dont_autoretry_for=(urllib.error.HTTPError,),
    retry_backoff=True,
    retry_jitter=True,
    max_retries=3,
)
def fetch(url: str = "") -> dict[str, Any]:
    url = url or current().fetch_url
    check_url(url)
    started = time.monotonic()
    with _opener.open(url, timeout=30) as response:
        size = len(response.read(16 * 1024 * 1024))
        status = response.status
    return {"url": url, "status": status, "bytes": size, "seconds": time.monotonic() - started}


@implements(contracts.fail)
def fail(message: str = "failed on request") -> None:
    raise ValueError(message)


@implements(contracts.sleep)
def sleep(seconds: contracts.Seconds) -> float:
    time.sleep(seconds)
    return seconds


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

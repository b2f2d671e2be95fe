"""The ready-made tasks' contract: names, arguments, usual pool. `worker.tasks` runs them.

The producer checks arguments against these signatures and never imports the worker.
"""

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt

from shared.pools import PoolKind

Function = Callable[..., Any]
# No longer than Python can wait.
Seconds = Annotated[float, Field(ge=0, le=threading.TIMEOUT_MAX)]


@dataclass(frozen=True)
class Contract:
    """What a caller knows of a task."""

    name: str
    pool: PoolKind
    signature: inspect.Signature
    help: str


CONTRACTS: dict[str, Contract] = {}


def contract(pool: PoolKind) -> Callable[[Function], Function]:
    """Declare a task: the function's name, signature and docstring, and its usual pool."""

    def declare(stub: Function) -> Function:
        CONTRACTS[stub.__name__] = Contract(
            name=stub.__name__,
            pool=pool,
            signature=inspect.signature(stub),
            help=inspect.getdoc(stub) or "",
        )
        return stub

    return declare


@contract(PoolKind.PREFORK)
def printcount(count: int) -> tuple[int, int]:
    """Print the count and the process id, wait a second, return both (the tutorial's pool)."""


@contract(PoolKind.PREFORK)
def count_steps(label: str = "a", steps: NonNegativeInt = 5, interval_s: Seconds = 1.0) -> int:
    """Print one numbered step each interval, as the tutorial's two processes do."""


@contract(PoolKind.PREFORK)
def primes(below: NonNegativeInt) -> int:
    """Count the primes below a number in pure Python: CPU work that holds the GIL."""


@contract(PoolKind.GEVENT)
def fetch(url: str = "") -> dict[str, Any]:
    """Get a URL that the settings allow (default FETCH_URL); return status, bytes and seconds."""


@contract(PoolKind.PREFORK)
def fail(message: str = "failed on request") -> None:
    """Raise ValueError with the message, to see how a failure looks."""


@contract(PoolKind.THREADS)
def sleep(seconds: Seconds) -> float:
    """Wait that many seconds, return them."""

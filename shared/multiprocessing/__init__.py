"""The standard library's ``multiprocessing``, over the service's workers.

``from shared import multiprocessing`` is the one line that changes. What differs is written
down in the docstrings of each class.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing import (
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,  # noqa: A004 - the standard library's own name
)
from typing import Any

from shared.pools import PoolKind

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "PoolKind",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "cpu_count",
    "current_process",
    "parent_process",
]


# Imported when first used, so that the import of this package stays light.
_LATER = {
    "JoinableQueue": "queues",
    "Queue": "queues",
    "SimpleQueue": "queues",
    "BoundedSemaphore": "synchronize",
    "Condition": "synchronize",
    "Event": "synchronize",
    "Lock": "synchronize",
    "RLock": "synchronize",
    "Semaphore": "synchronize",
    "Barrier": "barriers",
    "Pipe": "connection",
    "Array": "sharedctypes",
    "RawArray": "sharedctypes",
    "RawValue": "sharedctypes",
    "Value": "sharedctypes",
    "Manager": "managers",
    "Process": "process",
    "active_children": "process",
    "current_process": "process",
    "parent_process": "process",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def Pool(  # noqa: N802 - the standard library's own name
    processes: int | None = None,
    initializer: Callable[..., Any] | None = None,
    initargs: Iterable[Any] = (),
    maxtasksperchild: int | None = None,
    *,
    kind: PoolKind = PoolKind.PREFORK,
) -> Any:
    """A pool of workers; see `shared.multiprocessing.pool.Pool`."""
    from shared.multiprocessing.pool import Pool as ClusterPool

    return ClusterPool(processes, initializer, initargs, maxtasksperchild, kind=kind)


def cpu_count() -> int:
    """How many processes the cluster's prefork workers hold."""
    from shared.presence import capacity

    return capacity(PoolKind.PREFORK)

"""The standard library's ``multiprocessing``, over the service's workers.

``from shared import multiprocessing`` is the only line of a program that changes. The docstring of
each class names the differences.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing import (
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,  # noqa: A004 - the standard library's own name
    get_logger,
    log_to_stderr,
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
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]


# Imported at first use, so that importing this package is quick.
_LATER = {
    "JoinableQueue": "queues",
    "Queue": "queues",
    "SimpleQueue": "queues",
    "BoundedSemaphore": "locks",
    "Condition": "synchronize",
    "Event": "synchronize",
    "Lock": "locks",
    "RLock": "locks",
    "Semaphore": "locks",
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
    """The number of calls that the cluster's prefork workers can run at once.

    Raises `BrokerUnavailable` if Redis does not answer.
    """
    from shared.broker.presence import capacity

    return capacity(PoolKind.PREFORK)


# Workers are started only in one way, so every context is this package itself.

_METHODS = ("fork", "spawn", "forkserver")


def get_context(method: str | None = None) -> Any:
    """This package, because processes run on the workers whatever the start method.

    Raises ValueError for a name that is no start method.
    """
    if method is not None and method not in _METHODS:
        raise ValueError(f"cannot find context for {method!r}")
    return import_module(__name__)


def get_all_start_methods() -> list[str]:
    """The names that `get_context` and `set_start_method` accept."""
    return list(_METHODS)


def get_start_method(allow_none: bool = False) -> str:
    """Always ``spawn``: a function travels by name, as with that method."""
    return "spawn"


def set_start_method(method: str | None, force: bool = False) -> None:
    """Check the name. Has no other effect, because the workers run already.

    Raises ValueError for a name that is no start method.
    """
    get_context(method)


def set_executable(executable: str | None) -> None:
    """Does nothing, because the workers run already."""


def set_forkserver_preload(module_names: list[str]) -> None:
    """Does nothing, because the workers run already."""


def allow_connection_pickling() -> None:
    """Does nothing, because connections can always be passed to tasks."""


def freeze_support() -> None:
    """Does nothing, because a frozen program starts no processes here."""

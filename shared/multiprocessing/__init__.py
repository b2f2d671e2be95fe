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


# Imported when first used, so that the import of this package stays light.
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
    """How many processes the cluster's prefork workers hold."""
    from shared.broker.presence import capacity

    return capacity(PoolKind.PREFORK)


# There is one way in which these workers start, so a context is this package itself.

_METHODS = ("fork", "spawn", "forkserver")


def get_context(method: str | None = None) -> Any:
    """This package: its processes run on the workers, whatever the start method."""
    if method is not None and method not in _METHODS:
        raise ValueError(f"cannot find context for {method!r}")
    return import_module(__name__)


def get_all_start_methods() -> list[str]:
    """The names that `get_context` and `set_start_method` accept."""
    return list(_METHODS)


def get_start_method(allow_none: bool = False) -> str:
    """How a function reaches its process: by name, as with ``spawn``."""
    return "spawn"


def set_start_method(method: str | None, force: bool = False) -> None:
    """Accepted and without effect: the workers have been started."""
    get_context(method)


def set_executable(executable: str | None) -> None:
    """Accepted and without effect: the workers have been started."""


def set_forkserver_preload(module_names: list[str]) -> None:
    """Accepted and without effect: the workers have been started."""


def allow_connection_pickling() -> None:
    """Nothing to do: connections travel to tasks anyhow."""


def freeze_support() -> None:
    """Nothing to do: no process is started from a frozen program here."""

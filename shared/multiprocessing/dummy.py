"""``multiprocessing.dummy``: the same names over the threads pool."""

import functools
from typing import Any

from shared.multiprocessing import freeze_support, process
from shared.multiprocessing.barriers import Barrier
from shared.multiprocessing.connection import Pipe
from shared.multiprocessing.managers import Manager
from shared.multiprocessing.pool import ThreadPool
from shared.multiprocessing.process import active_children, current_process, parent_process
from shared.multiprocessing.queues import JoinableQueue, Queue, SimpleQueue
from shared.multiprocessing.synchronize import (
    BoundedSemaphore,
    Condition,
    Event,
    Lock,
    RLock,
    Semaphore,
)
from shared.pools import PoolKind

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "Semaphore",
    "SimpleQueue",
    "active_children",
    "current_process",
    "freeze_support",
    "parent_process",
]

Pool = ThreadPool


class Process(process.Process):
    """A process on the threads workers. `terminate` and `kill` raise NotImplementedError."""

    __init__: Any = functools.partialmethod(process.Process.__init__, kind=PoolKind.THREADS)

"""The three ways to run a task, and when to use which."""

from enum import StrEnum


class PoolKind(StrEnum):
    """The pool of a worker; the value is the word that ``--pool`` expects.

    It is also the name of the queue that the pool consumes, of its Compose service and of
    its node (``prefork@host``).
    """

    PREFORK = "prefork"  # CPU-bound: each process has its own GIL
    THREADS = "threads"  # blocking I/O, and C code that releases the GIL
    GEVENT = "gevent"  # many idle sockets in one process; never CPU work

    @property
    def advice(self) -> str:
        """When to choose this pool, in one line."""
        return _ADVICE[self]


# Where a task runs of which nothing else is said; in a worker it is that worker's own queue.
DEFAULT_QUEUE = PoolKind.PREFORK.value

_ADVICE = {
    PoolKind.PREFORK: "pure-Python CPU work: every process has a GIL of its own",
    PoolKind.THREADS: "blocking I/O and C code that releases the GIL, tens at a time",
    PoolKind.GEVENT: "hundreds of tasks that wait for sockets, in one process; never CPU work",
}

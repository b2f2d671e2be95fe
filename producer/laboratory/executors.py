"""The executors that a comparison knows, and the sizes that it tries."""

from enum import StrEnum

from producer.arguments import WrongUsage
from shared.pools import PoolKind


class Executor(StrEnum):
    """The executors. Their values are the words that ``--on`` accepts."""

    SERIAL = "serial"  # one after the other, in one process
    PROCESS = "process"  # multiprocessing.Pool
    THREAD = "thread"  # multiprocessing.pool.ThreadPool
    ASYNCIO = "asyncio"  # coroutine functions only
    GREENLET = PoolKind.GEVENT.value  # in a fresh patched process
    PREFORK = PoolKind.PREFORK.value  # the cluster's, from here on
    THREADS = PoolKind.THREADS.value
    GEVENT_POOL = "gevent-pool"

    @property
    def kind(self) -> PoolKind | None:
        """The cluster's pool of this executor, or None for a local executor."""
        return _KINDS.get(self)

    @property
    def like(self) -> PoolKind | None:
        """The pool whose size limits this executor, so that local and cluster are comparable."""
        return self.kind or _LIKE.get(self)


_KINDS = {
    Executor.PREFORK: PoolKind.PREFORK,
    Executor.THREADS: PoolKind.THREADS,
    Executor.GEVENT_POOL: PoolKind.GEVENT,
}
_LIKE = {
    Executor.PROCESS: PoolKind.PREFORK,
    Executor.THREAD: PoolKind.THREADS,
    Executor.ASYNCIO: PoolKind.GEVENT,
    Executor.GREENLET: PoolKind.GEVENT,
}
# Sizes far enough apart that noise seldom hides the difference.
LADDER = (1, 2, 4, 8, 16, 50, 200)


def choose(words: str) -> list[Executor]:
    """The executors in a comma-separated list; without a list, all of them."""
    chosen = []
    for word in filter(None, map(str.strip, words.split(","))):
        if word not in list(Executor):
            raise WrongUsage(f"--on {word!r} is not one of {', '.join(Executor)}")
        chosen.append(Executor(word))
    return list(dict.fromkeys(chosen)) or list(Executor)


def sizes(words: str) -> tuple[int, ...]:
    """The concurrencies in a comma-separated list; without a list, an empty one."""
    found = set()
    for word in filter(None, map(str.strip, words.split(","))):
        if not word.isdecimal() or not int(word):
            raise WrongUsage(f"--concurrency {word!r} is not a number from 1 on")
        found.add(int(word))
    return tuple(sorted(found))

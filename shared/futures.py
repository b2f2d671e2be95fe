"""``concurrent.futures`` over the workers: executors with genuine `Future` objects.

Differences from the standard library: `submit` refuses a function or an argument that cannot
travel at once. A future can be cancelled until a worker has taken its call.
"""

import asyncio
import collections
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    TimeoutError,  # noqa: A004 - the standard library's own name
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

from shared import endings
from shared.calls.encoding import Mode
from shared.calls.outcomes import Outcomes
from shared.multiprocessing.jobs import Chunk, Job, encode
from shared.multiprocessing.pacing import ALL
from shared.multiprocessing.pool import Pool
from shared.pools import PoolKind

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "CancelledError",
    "ClusterExecutor",
    "ClusterFuture",
    "Executor",
    "Future",
    "InvalidStateError",
    "ProcessPoolExecutor",
    "ThreadPoolExecutor",
    "TimeoutError",
    "as_completed",
    "wait",
]


class ClusterFuture(Future[Any]):
    """A `Future` whose call can be withdrawn from its queue. It can also be awaited.

    Timeouts are in seconds; None waits for ever, and a negative timeout counts as 0.
    Functions given to `add_done_callback` run in the process's one thread that reads all replies
    (or at once, if the future is done). A slow one delays all results of the program.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._sent: tuple[str, bytes] | None = None
        self._given_up = False  # cancelled before it was sent
        self._waiters_told = False  # waiters know of the cancellation
        self._deciding = threading.Lock()

    def cancel(self) -> bool:
        """Withdraw the call from its queue. Returns False if a worker has taken it."""
        if self.done():
            return super().cancel()
        with self._deciding:
            sent = self._sent
            self._given_up = sent is None
        if sent is not None and not self._pool.withdraw(*sent):
            return False
        cancelled = super().cancel()
        with self._deciding:
            tell = cancelled and not self._waiters_told
            self._waiters_told = self._waiters_told or tell
        if tell:
            # This call tells wait() and as_completed() of the cancellation.
            self.set_running_or_notify_cancel()
        return cancelled

    def running(self) -> bool:
        """True while the call is sent and has no outcome."""
        return self._sent is not None and not self.done()

    def starting(self, call_id: str, message: bytes) -> bool:
        """Called before the call is sent. Returns False if the future is cancelled."""
        with self._deciding:
            if not self._given_up:
                self._sent = (call_id, message)
            return not self._given_up

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self).__await__()


class ClusterExecutor(Executor):
    """``concurrent.futures.Executor`` on the workers of one kind.

    `max_workers`: how many calls are in flight at most. None: as many run as the workers have
    slots. `initializer` is called with `initargs` in a worker's process before its first call of
    this executor. `kind`: a `PoolKind` or its name. `max_tasks_per_child`: after so many chunks of
    this executor a prefork worker replaces its process.
    Leaving a ``with`` block waits for the submitted calls, as in the standard library.

    Raises ValueError for a size below 1, and `BrokerUnavailable` if Redis does not answer. A
    future's `result` raises the exception of the function, or `NotPortable` for its result,
    `WorkerLost`, `CodeDiffers`, `TaskWithdrawn` or `BrokerGone`.
    """

    _broken_error: type[Exception] = BrokenProcessPool

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        *,
        kind: PoolKind | str = PoolKind.PREFORK,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._pool = _ExecutorPool(
            max_workers, initializer, initargs, max_tasks_per_child, kind=kind
        )
        self._max_workers = self._pool.size

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ClusterFuture:
        """Send ``fn(*args, **kwargs)`` to a worker and return its future.

        Raises RuntimeError after `shutdown`, `NotPortable` if the function or an argument cannot
        travel, `MessageTooLarge`, and `BrokenExecutor` if the initializer has failed.
        """
        return self._submit(fn, Mode.APPLY, [[list(args), kwargs]], _first)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """An iterator over the values of ``fn(*items)``, in order.

        `chunksize`: items in one call. `buffersize`: how many chunks are sent ahead of the
        consumer; without it all are sent at once. `timeout` counts in seconds from the call of
        `map`, None waits for ever. Raises ValueError for a size below 1; the iterator raises
        TimeoutError, or the exception of the function.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else time.monotonic() + timeout
        zipped = zip(*iterables, strict=False)
        parts: Iterator[list[Any]] = iter(lambda: list(itertools.islice(zipped, chunksize)), [])
        futures = collections.deque(
            self._submit(fn, Mode.STARMAP, part, _all)
            for part in itertools.islice(parts, buffersize)
        )
        return self._values(fn, parts, futures, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no further calls, and with `wait` wait for the submitted ones.

        `cancel_futures` withdraws the calls that no worker has taken.
        """
        self._pool.close()
        if cancel_futures:
            for future in self._pool.futures():
                future.cancel()
        if wait:
            self._pool.join()

    def __exit__(self, *raised: Any) -> None:  # noqa: PYI036 - handed on as they are
        """Wait for the submitted calls. After Ctrl-C or a signal, end them instead."""
        if isinstance(raised[1], KeyboardInterrupt) or endings.by_signal():
            self._pool.terminate()
        super().__exit__(*raised)

    def _values(
        self,
        fn: Callable[..., Any],
        parts: Iterator[list[Any]],
        futures: "collections.deque[ClusterFuture]",
        deadline: float | None,
    ) -> Iterator[Any]:
        try:
            while futures:
                left = None if deadline is None else deadline - time.monotonic()
                values = futures.popleft().result(left)
                for part in itertools.islice(parts, 1):
                    futures.append(self._submit(fn, Mode.STARMAP, part, _all))
                # Drop each value when the consumer has it.
                values.reverse()
                while values:
                    yield values.pop()
        finally:
            for future in futures:
                future.cancel()

    def _submit(
        self,
        fn: Callable[..., Any],
        mode: Mode,
        items: list[Any],
        value: Callable[[Outcomes], Any],
    ) -> ClusterFuture:
        if (broken := self._pool.broken) is not None:
            raise self._broken_error(str(broken)) from broken
        if not self._pool.running:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = ClusterFuture(self._pool)
        result = _FutureResult(future, value, self._broken_error)
        chunk = Chunk(0, len(items), *encode(fn, mode, items))
        self._pool.add(Job.of(chunk, result))
        return future


class ProcessPoolExecutor(ClusterExecutor):
    """``concurrent.futures.ProcessPoolExecutor`` on the prefork workers."""

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        super().__init__(
            max_workers,
            initializer,
            initargs,
            kind=PoolKind.PREFORK,
            max_tasks_per_child=max_tasks_per_child,
        )


class ThreadPoolExecutor(ClusterExecutor):
    """``concurrent.futures.ThreadPoolExecutor`` on the threads workers."""

    _broken_error = BrokenThreadPool

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        super().__init__(max_workers, initializer, initargs, kind=PoolKind.THREADS)


class _ExecutorPool(Pool):
    """A pool whose results are futures. At exit the program waits for it."""

    def futures(self) -> list[ClusterFuture]:
        """The futures without an outcome."""
        with self._changed:
            jobs = [*self._jobs, *(job for job, _, _ in self._out.values())]
        return [job.result.future for job in jobs if isinstance(job.result, _FutureResult)]

    def _end_at_exit(self) -> None:
        if _is_interrupted():
            super()._end_at_exit()
            return
        self.close()
        self.join()


class _FutureResult:
    """Passes the outcome of a pool's call to a future."""

    def __init__(
        self,
        future: ClusterFuture,
        value: Callable[[Outcomes], Any],
        broken_error: type[Exception],
    ) -> None:
        self.future = future
        self._value = value
        self._broken_error = broken_error

    def starting(self, call_id: str, message: bytes) -> bool:
        return self.future.starting(call_id, message)

    def receive(self, first: int, items: int, outcomes: Outcomes) -> None:
        try:
            if outcomes[0].broken:
                cause = outcomes[0].error()
                error = self._broken_error(f"the initializer failed: {cause}")
                error.__cause__ = cause
                self.future.set_exception(error)
            elif outcomes[-1].ok:
                self.future.set_result(self._value(outcomes))
            else:
                self.future.set_exception(outcomes[-1].error())
        except InvalidStateError:
            return  # the future was cancelled before its outcome arrived

    def fail(self, error: BaseException, at: int | None = None) -> None:
        with contextlib.suppress(InvalidStateError):  # the future is cancelled
            self.future.set_exception(error)

    def complete(self, count: int) -> None:
        pass

    def room(self) -> int:
        return ALL

    def took(self, chunks: int) -> None:
        pass


def _is_interrupted() -> bool:
    return endings.by_signal() or isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)


def _first(outcomes: Outcomes) -> Any:
    return outcomes.values[0]


def _all(outcomes: Outcomes) -> list[Any]:
    return outcomes.values

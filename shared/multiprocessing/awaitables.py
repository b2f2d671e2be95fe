"""The results and iterators that a pool's methods return. Results can also be awaited."""

import asyncio
import collections
import contextlib
import logging
import threading
import time
import types
from collections.abc import Callable, Generator, Iterator
from multiprocessing import TimeoutError as PoolTimeoutError
from typing import Any, Protocol

from shared.calls.outcomes import Outcome, Outcomes
from shared.multiprocessing.pacing import ALL, Sizes

logger = logging.getLogger(__name__)

Callback = Callable[[Any], Any] | None


class Sender(Protocol):
    """The part of a pool that its results use."""

    def wake(self) -> None:
        """Make the pool check again whether it may send more."""


class AsyncResult:
    """``multiprocessing.pool.AsyncResult``: the outcome of one call, now or later.

    Timeouts are in seconds; None waits for ever, and a negative timeout counts as 0.
    Callbacks run in the process's one thread that reads all replies. A slow callback delays the
    results of every pool, executor and process. An exception of a callback is logged.
    """

    __class_getitem__: Any = classmethod(types.GenericAlias)

    def __init__(self, pool: Sender, callback: Callback, error_callback: Callback) -> None:
        self._pool = pool  # keeps the pool alive while a caller waits
        self._done = False
        self._callback = callback
        self._error_callback = error_callback
        self._outcome: Outcome | None = None
        self._wakers: list[Callable[[], Any]] = []
        self._lock = threading.Lock()

    def ready(self) -> bool:
        """True once the call has an outcome: a value or an error."""
        return self._done

    def successful(self) -> bool:
        """True if the call ended without an error. Raises ValueError while it is not ready."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._outcome is not None and self._outcome.ok

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the outcome, at most `timeout` seconds."""
        if self._done:
            return
        # A bare lock costs a third of an Event.
        gate = threading.Lock()
        gate.acquire()
        with self._lock:
            if self._done:
                return
            self._wakers.append(gate.release)
        # A lock accepts only -1 or 0 up to TIMEOUT_MAX.
        wait_s = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        if not gate.acquire(timeout=wait_s):
            with self._lock, contextlib.suppress(ValueError):
                self._wakers.remove(gate.release)

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the outcome, and return the value or raise the call's exception.

        Raises ``multiprocessing.TimeoutError`` after `timeout` seconds. Other errors: `NotPortable`
        for a result that cannot be sent, `WorkerLost`, `CodeDiffers`, `TaskWithdrawn`, `BrokerGone`.
        """
        self.wait(timeout)
        if self._outcome is None or not self.ready():
            raise PoolTimeoutError
        return self._outcome.result()

    def __await__(self) -> Generator[Any, None, Any]:
        """Await the value in a coroutine. No thread is blocked."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def wake() -> None:
            # A coroutine that gave up waiting may have closed its loop. Others still wait.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        with self._lock:
            self._wakers.append(wake)
            if self._done:
                done.set()
        yield from done.wait().__await__()
        return self.get()

    def _set(self, outcome: Outcome) -> None:
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
        try:
            if outcome.ok and self._callback:
                self._callback(outcome.value)
            if not outcome.ok and self._error_callback:
                self._error_callback(outcome.error())
        except BaseException:
            # Log it: an exception would end the reading thread, and no further result would arrive.
            logger.exception("a callback failed")
        finally:
            with self._lock:
                self._done = True
                wakers, self._wakers = self._wakers, []
            for wake in wakers:
                wake()

    # Called by the pool: see `shared.multiprocessing.jobs.Receiver`.

    def starting(self, call_id: str, message: bytes) -> bool:
        return True

    def receive(self, first: int, items: int, outcomes: Outcomes) -> None:
        self._set(outcomes[0])

    def fail(self, error: BaseException, at: int | None = None) -> None:
        self._set(Outcome(False, error))

    def complete(self, count: int) -> None:
        pass

    def took(self, chunks: int) -> None:
        pass

    def room(self) -> int:
        return ALL


class MapResult(AsyncResult):
    """``multiprocessing.pool.MapResult``: the list of a `map`'s values, now or later."""

    def __init__(
        self,
        pool: Sender,
        length: int,
        sizes: Sizes,
        callback: Callback,
        error_callback: Callback,
    ) -> None:
        super().__init__(pool, callback, error_callback)
        self._values: list[Any] = [None] * length
        self._sizes = sizes
        self._left = length
        self._first_error: Outcome | None = None
        if not length:
            # As in the standard library, an empty map is ready at once and runs no callback.
            self._outcome = Outcome(True, [])
            self._done = True

    def receive(self, first: int, items: int, outcomes: Outcomes) -> None:
        self._sizes.note(outcomes)
        with self._lock:
            self._values[first : first + len(outcomes)] = outcomes.values
            if self._first_error is None:
                self._first_error = next(iter(outcomes.failed.values()), None)
            self._left -= items
            ready = self._left == 0
        if ready:
            self._set(self._first_error or Outcome(True, self._values))

    def took(self, chunks: int) -> None:
        self._sizes.sent += chunks

    def room(self) -> int:
        return self._sizes.room()


class IMapIterator:
    """``multiprocessing.pool.IMapIterator``: an iterator over values, with ``next(timeout)``."""

    def __init__(self, pool: Sender, ahead: int, *, ordered: bool) -> None:
        self._pool = pool
        self._ordered = ordered
        self._ahead = ahead
        self._changed = threading.Condition()
        self._items: collections.deque[Outcome] = collections.deque()
        self._early: dict[int, list[Outcome]] = {}
        self._next_index = 0
        self._length: int | None = None
        self._taken = 0  # chunks that the feeder took
        self._arrived = 0  # items that arrived
        self._unread_chunks: collections.deque[int] = collections.deque()
        self._withdrawn = False
        self._done_chunks = 0  # chunks that the consumer has read

    def __iter__(self) -> Iterator[Any]:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Wait for the next value, at most `timeout` seconds (None: for ever).

        Raises ``multiprocessing.TimeoutError`` after that time, StopIteration at the end, or the
        exception of the item's call.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._items:
                if self._length is not None and self._arrived >= self._length and not self._early:
                    raise StopIteration
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise PoolTimeoutError
                self._changed.wait(left)
            outcome = self._items.popleft()
            self._unread_chunks[0] -= 1
            read = self._unread_chunks[0] == 0
            if read:
                self._unread_chunks.popleft()
                self._done_chunks += 1
        if read:
            self._pool.wake()
        return outcome.result()

    __next__ = next

    # What the pool calls: see `shared.multiprocessing.jobs.Receiver`.

    def starting(self, call_id: str, message: bytes) -> bool:
        return True

    def receive(self, first: int, items: int, outcomes: Outcomes) -> None:
        # An error of the whole chunk (worker lost, Redis unavailable) counts for each of its items.
        each = [*outcomes, *[outcomes[-1]] * (items - len(outcomes))]
        with self._changed:
            if self._withdrawn:
                return
            self._arrived += items
            if not self._ordered:
                self._append(each)
            else:
                self._early[first] = each
                while self._next_index in self._early:
                    ready = self._early.pop(self._next_index)
                    self._next_index += len(ready)
                    self._append(ready)
            self._changed.notify_all()

    def _append(self, outcomes: list[Outcome]) -> None:
        self._items.extend(outcomes)
        self._unread_chunks.append(len(outcomes))

    def fail(self, error: BaseException, at: int | None = None) -> None:
        """End with an error: of the iterable, after `at` items, or of the pool."""
        with self._changed:
            if self._withdrawn:
                return
            if at is None:  # the pool ended: no further value will arrive
                self._withdrawn = True
                self._early.clear()
                self._append([Outcome(False, error)])
                self._arrived = self._length = 0
            else:
                self._early[at] = [Outcome(False, error)]
                self._length = at + 1
                self._arrived += 1
                if not self._ordered or self._next_index == at:
                    self._append(self._early.pop(at))
                    self._next_index = at + 1
            self._changed.notify_all()

    def complete(self, count: int) -> None:
        with self._changed:
            if self._withdrawn:
                return
            self._length = count
            self._changed.notify_all()

    def took(self, chunks: int) -> None:
        self._taken += chunks

    def room(self) -> int:
        return self._ahead - (self._taken - self._done_chunks)

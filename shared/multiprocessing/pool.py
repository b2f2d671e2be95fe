"""``multiprocessing.pool``: a bounded number of calls at once, on the cluster's workers.

    caller's thread          feeder (one a pool)             reading thread (one a process)
    apply_async(f, …)
    encode; if the pool is
    idle: push to Redis
    else ──────────────────► take the next chunk while
                             fewer than `processes` are
                             in flight; push to Redis
                                                             outcome arrives: resolve,
                             next chunk ◄──────────────────── free its slot

Differences from the standard library:

- Functions travel by name. A lambda is refused at the call with `NotPortable`; the standard
  library fails in `get`.
- After `terminate`, results without an outcome raise `TaskWithdrawn`. In the standard library
  they wait for ever.
- `imap` reads its iterable only as its results are consumed, so the iterable may be endless.
"""

import atexit
import collections
import contextlib
import functools
import itertools
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from shared import endings, publishing
from shared.app import app
from shared.broker import presence
from shared.broker.connections import Absence, foreseen, store
from shared.broker.keys import new_id, new_word
from shared.calls import codec, context, encoding, inbox, redirection
from shared.calls.encoding import Mode
from shared.calls.outcomes import Outcome, Outcomes, decode_outcomes
from shared.calls.parcels import Purpose
from shared.errors import BrokerGone, BrokerRefused, BrokerUnavailable, TaskWithdrawn
from shared.multiprocessing import jobs
from shared.multiprocessing.awaitables import (
    AsyncResult,
    Callback,
    IMapIterator,
    MapResult,
)
from shared.multiprocessing.jobs import Chunk, Job
from shared.multiprocessing.pacing import ALL, Pace, Sizes
from shared.pools import PoolKind
from shared.settings import current

__all__ = ["ApplyResult", "AsyncResult", "IMapIterator", "MapResult", "Pool", "ThreadPool"]

ApplyResult = AsyncResult  # the standard library has both names

_open_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _terminate_at_exit() -> None:
    """End the pools that were not closed, as the standard library does at exit."""
    for pool in list(_open_pools):
        if pool._state != _TERMINATE and (pool._out or pool._jobs):
            pool._end_at_exit()


def _watch_signals() -> None:
    if context.current() is None:  # a pool opened inside a task ends with the task's worker
        endings.watch_signals()


def _terminate_by_signal() -> None:
    for pool in list(_open_pools):
        if pool._state != _TERMINATE:
            pool.terminate()


atexit.register(_terminate_at_exit)
endings.on_signal.append(_terminate_by_signal)

Function = Callable[..., Any]
_RUN, _CLOSE, _TERMINATE = "RUN", "CLOSE", "TERMINATE"
# At most this many chunks go in one round trip. A larger batch would delay its first chunk.
_BATCH = 200
# How long to wait at exit for the feeder, which may be in a command that Redis does not answer.
_END_WITHIN_S = 2.0


class Pool:
    """``multiprocessing.pool.Pool`` over the workers of one kind.

    `processes`: how many chunks are in flight at most. None: as many chunks run as the cluster's
    workers have slots, and further chunks wait in the queue.
    `initializer`: called with `initargs` in a worker's process before its first call of this pool.
    `maxtasksperchild`: after so many chunks of this pool, a worker replaces its process. Only
    prefork workers have processes to replace.
    `kind`: a `PoolKind` or its name; by default prefork, for a `ThreadPool` threads.

    Timeouts are in seconds; None waits for ever, and a negative timeout counts as 0.

    Callbacks run in the process's one thread that reads all replies. A slow callback delays the
    results of every pool, executor and process of the program.

    Raises ValueError for a size below 1, and `BrokerUnavailable` if Redis does not answer.
    Sending a call raises `NotPortable` for a function or an argument that cannot be sent,
    `MessageTooLarge`, and ValueError once the pool is closed. Waiting for a result raises the
    exception of the function, or `NotPortable` for its result, `WorkerLost`, `CodeDiffers`,
    `TaskWithdrawn`, or `BrokerGone`.
    """

    _default_kind = PoolKind.PREFORK

    def __init__(
        self,
        processes: int | None = None,
        initializer: Function | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        kind: PoolKind | str | None = None,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        redirection.check_guard("a pool")
        self._kind = PoolKind(kind or self._default_kind)
        if maxtasksperchild is not None and self._kind is not PoolKind.PREFORK:
            raise ValueError(
                f"maxtasksperchild needs a prefork pool: {self._kind.value} workers have no "
                "processes to replace"
            )
        self._options = _options(self._kind, initializer, tuple(initargs))
        if maxtasksperchild is not None:
            self._options["recycle"] = [new_word(), maxtasksperchild]
        self._inbox = inbox.inbox()
        self._processes = processes or presence.capacity(self._kind)
        self._pace = None if processes else Pace()
        self._template = publishing.Template(
            encoding.NAME,
            self._kind.value,
            serializer="msgpack",
            ignore_result=True,
            reply_to=self._inbox.name,
        )
        self._state = _RUN
        self._broken: BaseException | None = None
        self._arriving = 0  # outcomes removed from `_out` and not yet given to their results
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._jobs: collections.deque[Job] = collections.deque()
        self._out: dict[str, tuple[Job, int, int]] = {}  # call id → job, first item, items
        self._sending = 0  # threads that are sending a call of their own
        self._unsent: collections.deque[tuple[str, dict[str, bytes]]] = collections.deque()
        # The feeder references the pool only while it works, so a forgotten pool can be collected.
        self._feeder = threading.Thread(
            target=_feed, args=(weakref.ref(self), self._changed), name="pool-feeder", daemon=True
        )
        weakref.finalize(self, _wake, self._changed).atexit = False
        self._feeder.start()
        _open_pools.add(self)
        _watch_signals()

    def __del__(self) -> None:
        if getattr(self, "_state", None) == _RUN:
            warnings.warn(
                f"unclosed running multiprocessing pool {self!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    # The standard library's methods, in its order.

    def apply(self, func: Function, args: Iterable[Any] = (), kwds: Any = None) -> Any:
        """Run ``func(*args, **kwds)`` on a worker, wait, and return its value.

        Raises the function's exception, and the errors of the class's docstring.
        """
        return self.apply_async(func, args, kwds).get()

    def map(
        self, func: Function, iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Run ``func(item)`` for each item, wait for all, and return the values in order.

        `chunksize` is the number of items in one call. With None, the pool chooses sizes by
        how long the items take. Raises the exception of the first failed chunk to arrive.
        """
        return self.map_async(func, iterable, chunksize).get()  # type: ignore[no-any-return]

    def starmap(
        self, func: Function, iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """Run ``func(*item)`` for each item, wait for all, and return the values in order."""
        return self.starmap_async(func, iterable, chunksize).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Function,
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> MapResult:
        """Start a `starmap` and return its `MapResult`; `get` gives the list of values.

        The callbacks run in the reading thread: see the class's docstring.
        """
        return self._map_async(func, Mode.STARMAP, iterable, chunksize, callback, error_callback)

    def imap(self, func: Function, iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """An iterator over the values of ``func(item)``, in order.

        The pool reads items only a little ahead of the consumer. Raises ValueError for a
        `chunksize` below 1.
        """
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Function, iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """An iterator over the values of ``func(item)``, in the order in which they arrive."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def apply_async(
        self,
        func: Function,
        args: Iterable[Any] = (),
        kwds: Any = None,
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> AsyncResult:
        """Start ``func(*args, **kwds)`` on a worker and return its `AsyncResult`.

        `callback` gets the value, or `error_callback` the exception. Both run in the reading
        thread: see the class's docstring.
        """
        self._check_running()
        item = [list(args), dict(kwds or {})]
        chunk = Chunk(0, 1, *jobs.encode(func, Mode.APPLY, [item]))
        result = AsyncResult(self, callback, error_callback)
        self.add(Job.of(chunk, result))
        return result

    def map_async(
        self,
        func: Function,
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> MapResult:
        """Start a `map` and return its `MapResult`; `get` gives the list of values.

        The callbacks run in the reading thread: see the class's docstring.
        """
        return self._map_async(func, Mode.MAP, iterable, chunksize, callback, error_callback)

    def close(self) -> None:
        """Accept no further calls. Accepted calls go on."""
        with self._changed:
            if self._state == _RUN:
                self._state = _CLOSE
                self._changed.notify_all()

    def terminate(self) -> None:
        """Accept no further calls, withdraw the queued ones, and end the running ones.

        A call on a thread cannot be ended; its result is discarded. Results without an outcome
        raise `TaskWithdrawn`.
        """
        with self._changed:
            self._state = _TERMINATE
        if abandoned := self._abandon(self._reason_to_end):
            # A thread cannot be killed. On threads, only calls that have not begun are stopped.
            app.control.revoke(abandoned, terminate=self._kind is not PoolKind.THREADS)

    def _end_at_exit(self) -> None:
        self.terminate()
        self._feeder.join(_END_WITHIN_S)

    def join(self) -> None:
        """Wait until all accepted calls are done.

        Raises ValueError before `close` or `terminate`.
        """
        if self._state == _RUN:
            raise ValueError("Pool is still running")
        self._feeder.join()
        with self._changed:
            while self._out or self._arriving:
                self._changed.wait()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.terminate()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__module__}.{type(self).__qualname__} state={self._state} "
            f"pool_size={self._processes} kind={self._kind.value}>"
        )

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    # Used by the executors in `shared.futures`.

    @property
    def size(self) -> int:
        """The largest number of chunks that run at once."""
        return self._processes

    @property
    def running(self) -> bool:
        """True while the pool accepts calls."""
        return self._state == _RUN

    @property
    def broken(self) -> BaseException | None:
        """The exception of the initializer, or None if it has not failed."""
        return self._broken

    # How it works.

    def _check_running(self) -> None:
        if self._state != _RUN:
            raise ValueError("Pool not running")

    def _map_async(
        self,
        func: Function,
        mode: Mode,
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callback,
        error_callback: Callback,
    ) -> MapResult:
        self._check_running()
        # Do not make a list of a range: a part of a range is a range, and travels as three numbers.
        items = iterable if isinstance(iterable, range) else list(iterable)
        if items and chunksize is not None and chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        name, _ = encoding.encode_call(func, mode, [])  # refuse a lambda here, not in the feeder
        sizes = Sizes(len(items), self._processes, chunksize)
        result = MapResult(self, len(items), sizes, callback, error_callback)
        if items:
            cut = jobs.cut_sequence(func, mode, items, sizes)
            self.add(Job(cut, result, name, total=len(items)))
        return result

    def _imap(
        self, func: Function, iterable: Iterable[Any], chunksize: int, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        name, _ = encoding.encode_call(
            func, Mode.MAP, []
        )  # refuse a lambda here, not in the feeder
        # Stay far enough ahead to keep every worker busy while the consumer handles a value.
        ahead = 2 * self._processes
        result = IMapIterator(self, ahead, ordered=ordered)
        cut = jobs.cut(func, Mode.MAP, iterable, chunksize)
        self.add(Job(cut, result, name))
        return result

    def add(self, job: Job) -> None:
        """Queue a job, whose chunks are sent as slots become free.

        Raises ValueError once the pool is closed.
        """
        mark, sent = new_id(), False
        with self._lock:
            self._check_running()
            if self._jobs or self._out or not job.encoded:
                self._jobs.append(job)
                if self._may_push():
                    self._changed.notify_all()
                return
            # The pool is idle: send from this thread, which is quicker than waking the feeder.
            taken, _ = job.take(min(self._free(), _BATCH))
            if not job.exhausted:
                self._jobs.append(job)
            messages = self._register([(job, chunk) for chunk in taken])
            self._sending += 1
        try:
            publishing.push(self._kind.value, list(messages.values()), mark=mark, once=True)
            sent = True
        except BrokerUnavailable:
            pass  # the feeder retries for longer
        finally:
            with self._lock:
                self._sending -= 1
                if not sent:
                    self._unsent.append((mark, messages))
                if self._step() != "wait":
                    self._changed.notify_all()

    def wake(self) -> None:
        """Make the feeder check again whether it may send more."""
        with self._lock:
            self._changed.notify_all()

    def _step(self) -> str:
        """The feeder's next step: push, wait, or end."""
        if self._unsent or self._may_push():
            return "push"
        if self._state == _TERMINATE:
            return "end"
        if self._state == _CLOSE and not self._jobs and not self._sending:
            return "end"
        return "wait"

    def _may_push(self) -> bool:
        return bool(self._jobs) and self._free() > 0 and any(map(self._room, self._jobs))

    def _free(self) -> int:
        """The number of chunks that may be sent now.

        Wait until half of the prefetched chunks are answered, then send a whole batch.
        """
        ahead = self._pace.ahead() if self._pace else 0
        free = self._processes + ahead - len(self._out)
        return free if free > ahead // 2 else 0

    def _room(self, job: Job) -> int:
        # A closed pool runs all accepted calls, even if no consumer reads: `join` waits for them.
        return ALL if self._state == _CLOSE and job.lazy else job.result.room()

    def _send_some(self) -> None:
        """Push as many chunks as there are free slots."""
        if self._unsent:
            self._push(*self._unsent.popleft())
            return
        with self._lock:
            places = min(self._free(), _BATCH)
            waiting = list(itertools.islice(filter(self._room, self._jobs), places))
        batch: list[tuple[Job, Chunk]] = []
        ended: list[tuple[Job, Exception | None]] = []
        for job in waiting:
            if not places or (batch and job.lazy):
                break  # the caller's iterable may be slow: send the ready chunks first
            # Do not hold the lock: this runs the caller's code.
            taken, error = job.take(min(places, self._room(job)))
            batch += [(job, chunk) for chunk in taken]
            places -= len(taken)
            if job.exhausted:
                ended.append((job, error))
        with self._lock:
            for job, _ in ended:
                with contextlib.suppress(ValueError):  # the pool was terminated meanwhile
                    self._jobs.remove(job)
            messages = self._register(batch)
        self._push(new_id(), messages)
        for job, error in ended:
            if error is not None:
                job.result.fail(error, at=job.taken)
            else:
                job.result.complete(job.taken)

    def _push(self, mark: str, messages: dict[str, bytes]) -> None:
        try:
            self._push_patiently(mark, messages)
        except Exception as error:
            # Tell the callers that wait for these chunks, whatever the error is.
            for call_id in messages:
                self._inbox.forget(call_id)
                self._receive(call_id, error)

    def _register(self, batch: list[tuple[Job, Chunk]]) -> dict[str, bytes]:
        """Occupy slots for chunks. Returns their messages, by call id."""
        messages: dict[str, bytes] = {}
        with self._lock:
            for job, chunk in batch:
                if self._state == _TERMINATE:
                    job.result.fail(self._reason_to_end(job))
                    continue
                call_id = new_id()
                try:
                    message = self._render(call_id, job, chunk)
                except Exception as error:
                    # Together with the initializer the chunk is too large. The feeder must go on.
                    self._hand_over(job, chunk.first, chunk.items, error)
                    continue
                if not job.result.starting(call_id, message):
                    continue
                self._out[call_id] = (job, chunk.first, chunk.items)
                # Keep the parcels of the arguments until the call is answered.
                kept = getattr(chunk.payload, "kept", None)
                receive = functools.partial(self._receive, call_id, kept=kept)
                self._inbox.expect(call_id, receive, name=chunk.function)
                messages[call_id] = message
        return messages

    def _push_patiently(self, mark: str, messages: dict[str, bytes]) -> None:
        """Put the messages on the queue; retry while Redis is unavailable."""
        absence = Absence(
            "a pool's call", patience_s=current().redis_gone_s, sleep=self._wait_for_change
        )
        # Stop if no caller waits for any of them.
        while any(call_id in self._out for call_id in messages):
            try:
                publishing.push(self._kind.value, list(messages.values()), mark=mark)
                return
            except BrokerRefused:
                raise
            except BrokerUnavailable as error:
                absence.wait(error)

    def _wait_for_change(self, at_most_s: float) -> None:
        with self._changed:
            self._changed.wait(at_most_s)

    def withdraw(self, call_id: str, message: bytes) -> bool:
        """Remove a call from its queue. Returns False if a worker has taken it already."""
        with foreseen():
            withdrawn = store().lrem(self._kind.value, 1, message)  # type: ignore[arg-type]
        if not withdrawn:
            return False
        self._inbox.forget(call_id)
        with self._changed:
            self._out.pop(call_id, None)
            self._changed.notify_all()
        return True

    def _reason_to_end(self, job: Job) -> BaseException:
        return self._broken or TaskWithdrawn(job.function, "its pool was terminated")

    def _render(self, call_id: str, job: Job, chunk: Chunk) -> bytes:
        return self._template.render(
            call_id,
            [chunk.payload, self._inbox.name, {**self._options, "go_on": job.lazy}],
            {},
            shadow=chunk.function,
            argsrepr=chunk.argsrepr,
            kwargsrepr=chunk.kwargsrepr,
        )

    def _receive(self, call_id: str, reply: bytes | Exception, kept: Any = None) -> None:
        """Free the call's slot, then hand over its outcomes. Called in the reading thread."""
        with self._lock:
            if call_id not in self._out:
                return
            job, first, items = self._out.pop(call_id)
            self._arriving += 1
            if self._pace is not None:
                self._pace.answered()
            if self._may_push():
                self._changed.notify_all()
        try:
            self._hand_over(job, first, items, reply)
            if isinstance(reply, BrokerGone):
                # No other accepted call will be sent or answered.
                self._abandon(lambda job: reply)
        finally:
            with self._changed:
                self._arriving -= 1
                # Wake a waiting `join`, or the feeder if a job may send more now.
                if self._state != _RUN or self._may_push():
                    self._changed.notify_all()

    def _hand_over(self, job: Job, first: int, items: int, reply: bytes | Exception) -> None:
        try:
            if isinstance(reply, Exception):
                raise reply
            outcomes = decode_outcomes(reply, items)
        except Exception as error:
            outcomes = Outcomes.of(Outcome(False, error))
        if outcomes[0].broken:
            # The initializer failed, and would fail for every call of this pool.
            with self._changed:
                self._broken = self._broken or outcomes[0].error()
            self.terminate()
        job.result.receive(first, items, outcomes)

    def _abandon(self, reason: Callable[[Job], BaseException]) -> list[str]:
        """Fail all calls without an outcome. Returns the ids of the calls in flight."""
        with self._changed:
            out = list(self._out)
            jobs = {id(job): job for job, _, _ in self._out.values()}
            jobs.update((id(job), job) for job in self._jobs)
            self._out.clear()
            self._jobs.clear()
            self._changed.notify_all()
        for call_id in out:
            self._inbox.forget(call_id)
        for job in jobs.values():
            job.result.fail(reason(job))
        return out


def _feed(ref: "weakref.ref[Pool]", changed: threading.Condition) -> None:
    """The feeder thread: push chunks while slots are free, until the pool is closed and done."""
    while True:
        with changed:
            while True:
                pool = ref()
                step = "end" if pool is None else pool._step()
                if step != "wait":
                    break
                del pool
                changed.wait()
        if pool is None or step == "end":
            return
        pool._send_some()
        del pool


def _wake(changed: threading.Condition) -> None:
    with changed:
        changed.notify_all()


class ThreadPool(Pool):
    """``multiprocessing.pool.ThreadPool`` on the threads workers."""

    _default_kind = PoolKind.THREADS


def _options(
    kind: PoolKind, initializer: Function | None, initargs: tuple[Any, ...]
) -> dict[str, Any]:
    """The options sent with every call of a pool.

    Raises AssertionError inside a task on the same kind of worker, because the pool could
    dead-lock.
    """
    around = context.current()
    if around is not None and kind.value in around.kinds:
        # All slots of that kind may be occupied by tasks that wait in the same way.
        raise AssertionError(
            f"a task on {' → '.join(around.kinds)} cannot open a pool on {kind.value}: "
            "it would wait for the places that such tasks hold; choose another kind"
        )
    options = context.inherited()
    if initializer is not None:
        encoding.name_of(initializer)  # refuse a lambda here
        options["setup"] = codec.dumps(
            [new_word(), initializer, list(initargs)],
            what="the initializer's arguments",
            purpose=Purpose.CALL,
        )
    return options

"""Celery's threads pool, without a future for each task, which Celery never reads."""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.concurrency import thread
from celery.concurrency.base import BasePool
from celery.utils.log import get_logger

from worker.pools import may_begin

logger = get_logger(__name__)


class TaskPool(thread.TaskPool):
    """Celery's threads pool, whose threads take tasks from one queue. It can grow and shrink."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Skip the parent's __init__, which makes an executor that is not needed here.
        BasePool.__init__(self, *args, **kwargs)
        # An entry None makes an idle thread check whether it should end.
        self._tasks: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._changing = threading.Lock()
        self._numbers = itertools.count(1)
        self._stopping = False

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> None:
        """Queue a task for the threads."""
        self._start_more()
        self._tasks.put((target, args, kwargs, callback, accept_callback, error_callback))

    def on_stop(self) -> None:
        """Begin no further task, and wait for the running ones."""
        self._stopping = True
        with contextlib.suppress(Empty):  # the threads may empty the queue first
            while True:
                self._tasks.get_nowait()
        threads = list(self._threads)
        for _ in threads:
            self._tasks.put(None)
        for started in threads:
            started.join()

    def grow(self, n: int = 1) -> None:
        """Run `n` more tasks at once, including tasks that wait already."""
        self.limit += n
        for _ in range(min(n, self._tasks.qsize())):
            self._start_more()

    def shrink(self, n: int = 1) -> None:
        """Run `n` fewer tasks at once. Surplus threads end after their task.

        Raises ValueError if `n` is larger than the pool.
        """
        if n > self.limit:
            raise ValueError(f"the pool has only {self.limit} threads")
        self.limit -= n
        for _ in range(n):
            self._tasks.put(None)

    def _start_more(self) -> None:
        if len(self._threads) >= self.limit:
            return
        with self._changing:
            started = threading.Thread(target=self._run, name=f"task-{next(self._numbers)}")
            self._threads.add(started)
        started.start()

    def _ends(self) -> bool:
        """True if the calling thread is surplus. Removes it from the pool then."""
        with self._changing:
            ends = self._stopping or len(self._threads) > self.limit
            if ends:
                self._threads.discard(threading.current_thread())
            return ends

    def _run(self) -> None:
        while not self._ends():
            if (task := self._tasks.get()) is None:
                continue
            try:
                _apply(*task)
            except BaseException:
                # Go on after any exception, because no other thread would replace this one.
                logger.exception("a task's end was not noted")
            # Drop the task's objects before waiting for the next task.
            del task

    def _get_info(self) -> Any:
        return dict(BasePool._get_info(self), threads=len(self._threads))


def _apply(
    target: Callable[..., Any],
    args: Any,
    kwargs: Any,
    callback: Callable[..., Any],
    accept_callback: Callable[..., Any],
    error_callback: Callable[..., Any],
) -> None:
    if not may_begin(accept_callback):
        return
    accept_callback(os.getpid(), time.monotonic())
    try:
        ended = target(*args, **kwargs)
    except BaseException as error:
        # The task has called exit(), which would end its process in prefork. Report a lost worker.
        # Celery's threads pool would pass the error to `callback` as a result. That call would
        # fail, and the message would never be acknowledged.
        lost = WorkerLostError(repr(error))
        error_callback(ExceptionInfo((WorkerLostError, lost, error.__traceback__)))
    else:
        callback(ended)

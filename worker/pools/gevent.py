"""Celery's gevent pool, with greenlets that run many tasks one after the other.

In Celery each task gets a new greenlet, which makes up a third of the cost of a short task.
"""

import contextvars
import itertools
from collections.abc import Callable
from typing import Any

import gevent
from celery.concurrency import gevent as celerys
from celery.utils.log import get_logger
from gevent import GreenletExit
from gevent.queue import SimpleQueue

from worker.pools import may_begin

logger = get_logger(__name__)

_Task = tuple[Callable[..., Any], Any, Any, dict[str, Any]]


class TaskPool(celerys.TaskPool):
    """Celery's gevent pool, with long-lived greenlets that take tasks from one queue."""

    def on_start(self) -> None:
        """Start without greenlets. The first tasks start one each."""
        # An entry None makes an idle greenlet check whether it should end.
        self._tasks: SimpleQueue = SimpleQueue()
        self._stopping = False
        self._greenlets: set[gevent.Greenlet] = set()
        # Running tasks by a number that serves as process id. A greenlet gets a new number for each
        # task, so that ending a task cannot hit the next one.
        self._running: dict[int, gevent.Greenlet] = {}
        self._numbers = itertools.count(1)

    def on_apply(
        self, target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any
    ) -> None:
        """Queue a task for the greenlets."""
        self._start_more()
        self._tasks.put((target, args or (), kwargs or {}, options))

    def on_stop(self) -> None:
        """Begin no further task, and wait for the running ones."""
        self._stopping = True
        while not self._tasks.empty():
            self._tasks.get_nowait()
        for _ in self._greenlets:
            self._tasks.put(None)
        gevent.joinall(list(self._greenlets))

    def grow(self, n: int = 1) -> None:
        """Run `n` more tasks at once, including tasks that wait already."""
        self.limit += n
        for _ in range(min(n, self._tasks.qsize())):
            self._start_more()

    def shrink(self, n: int = 1) -> None:
        """Run `n` fewer tasks at once. Surplus greenlets end after their task.

        Raises ValueError if `n` is larger than the pool.
        """
        if n > self.limit:
            raise ValueError(f"the pool has only {self.limit} greenlets")
        self.limit -= n
        for _ in range(n):
            self._tasks.put(None)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """End a running task by an exception in its greenlet."""

        def end() -> None:
            # Look the task up only now: it may have ended.
            if pid in self._running:
                self._running[pid].throw(GreenletExit)

        gevent.get_hub().loop.run_callback(end)

    def _start_more(self) -> None:
        if len(self._greenlets) < self.limit:
            started = gevent.Greenlet(self._run)
            self._greenlets.add(started)
            started.start()

    def _run(self) -> None:
        try:
            while len(self._greenlets) <= self.limit and not self._stopping:
                if (task := self._tasks.get()) is None:
                    continue
                # Run each task in a context of its own.
                contextvars.copy_context().run(self._apply, task)
                # Drop the task's objects before waiting for the next task.
                del task
        finally:
            self._greenlets.discard(gevent.getcurrent())

    def _apply(self, task: _Task) -> None:
        target, args, kwargs, options = task
        if not may_begin(options.get("accept_callback")):
            return
        number = next(self._numbers)
        self._running[number] = gevent.getcurrent()
        timeout = options.pop("timeout", None) or self.timeout
        apply = celerys.apply_timeout if timeout else celerys.apply_target
        try:
            apply(
                self._make_killable_target(target),
                args,
                kwargs,
                getpid=lambda: number,
                timeout=timeout,
                **options,
            )
        except BaseException:
            # Go on after any exception, because no other greenlet would replace this one.
            logger.exception("a task's end was not noted")
        finally:
            del self._running[number]

    def _get_info(self) -> Any:
        return dict(super()._get_info(), greenlets=len(self._greenlets))

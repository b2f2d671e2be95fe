"""Celery's gevent pool, whose greenlets run one task after the other.

A greenlet of its own for each task is a third of what a short one costs.
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
    """Celery's; its greenlets take tasks from one queue."""

    def on_start(self) -> None:
        """Begin without greenlets: each of the first tasks starts one."""
        # None has an idle greenlet look whether it is to end.
        self._tasks: SimpleQueue = SimpleQueue()
        self._stopping = False
        self._greenlets: set[gevent.Greenlet] = set()
        # By the number that stands for a task's process id: another may run in its greenlet soon.
        self._running: dict[int, gevent.Greenlet] = {}
        self._numbers = itertools.count(1)

    def on_apply(
        self, target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any
    ) -> None:
        """Celery's."""
        self._start_more()
        self._tasks.put((target, args or (), kwargs or {}, options))

    def on_stop(self) -> None:
        """Let what runs end, and begin nothing else."""
        self._stopping = True
        while not self._tasks.empty():
            self._tasks.get_nowait()
        for _ in self._greenlets:
            self._tasks.put(None)
        gevent.joinall(list(self._greenlets))

    def grow(self, n: int = 1) -> None:
        """Run more tasks at once, those that wait already among them."""
        self.limit += n
        for _ in range(min(n, self._tasks.qsize())):
            self._start_more()

    def shrink(self, n: int = 1) -> None:
        """Run fewer tasks at once; a greenlet too many ends after its task."""
        if n > self.limit:
            raise ValueError(f"the pool has only {self.limit} greenlets")
        self.limit -= n
        for _ in range(n):
            self._tasks.put(None)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Celery's."""

        def end() -> None:
            # Looked up when it is done: the task may have ended by then.
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
                # What a task puts there is its own.
                contextvars.copy_context().run(self._apply, task)
                # Nothing of it is to live until the next one comes.
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
            # Nobody replaces a greenlet: it goes on whatever a task raises.
            logger.exception("a task's end was not noted")
        finally:
            del self._running[number]

    def _get_info(self) -> Any:
        return dict(super()._get_info(), greenlets=len(self._greenlets))

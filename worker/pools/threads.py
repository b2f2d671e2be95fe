"""Celery's threads pool, without a future for each task: nobody asks for it."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.concurrency import thread
from celery.utils.log import get_logger

from worker.pools import may_begin

logger = get_logger(__name__)


class TaskPool(thread.TaskPool):
    """Celery's; its threads take tasks from one queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tasks: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

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
        """Celery's."""
        if len(self._threads) < self.limit:
            started = threading.Thread(target=self._run, name=f"task-{len(self._threads) + 1}")
            self._threads.append(started)
            started.start()
        self._tasks.put((target, args, kwargs, callback, accept_callback, error_callback))

    def on_stop(self) -> None:
        """Let what runs end, and begin nothing else."""
        with contextlib.suppress(Empty):  # the threads take from it meanwhile
            while True:
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        for started in self._threads:
            started.join()
        super().on_stop()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                _apply(*task)
            except BaseException:
                # Nobody replaces a thread: it goes on whatever a task raises.
                logger.exception("a task's end was not noted")
            # Nothing of it is to live until the next one comes.
            del task

    def _get_info(self) -> Any:
        return dict(super()._get_info(), threads=len(self._threads))


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
        # A task that exits ends its process in prefork. Celery's threads would tell `callback`,
        # which takes it for a result and fails: the message would never be settled.
        lost = WorkerLostError(repr(error))
        error_callback(ExceptionInfo((WorkerLostError, lost, error.__traceback__)))
    else:
        callback(ended)

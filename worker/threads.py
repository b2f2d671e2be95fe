"""Celery's threads pool, without a future for each task: nobody asks for it."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from celery.concurrency import base, thread
from celery.utils.log import get_logger

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
        **_: Any,
    ) -> None:
        """Celery's."""
        if len(self._threads) < self.limit:
            started = threading.Thread(target=self._run, name=f"task-{len(self._threads) + 1}")
            self._threads.append(started)
            started.start()
        self._tasks.put((target, args, kwargs, callback, accept_callback))

    def on_stop(self) -> None:
        """Let what runs end, and begin nothing else."""
        while not self._tasks.empty():
            self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        for started in self._threads:
            started.join()
        super().on_stop()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                base.apply_target(*task)
            except Exception:
                logger.exception("a task's end was not noted")
            # Nothing of it is to live until the next one comes.
            del task

    def _get_info(self) -> Any:
        return dict(super()._get_info(), threads=len(self._threads))

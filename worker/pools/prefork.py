"""Celery's prefork pool, with processes that also end when worn out or told to end."""

import sys
from typing import Any

from billiard.common import terminate_handler_fired
from billiard.pool import EX_RECYCLE
from celery.concurrency import asynpool, prefork
from celery.worker import state

from shared.broker import ownership
from shared.calls import context
from worker.pools import may_begin


class Worker(asynpool.Worker):
    """A pool process that ends between two tasks, once it is worn out or told to end.

    A caller's `maxtasksperchild` wears a process out. A task is terminated by a SystemExit, which
    the task may catch and which Python drops in a finalizer. If the process went on, billiard
    would take every later task of it for a terminated one.
    """

    def _make_protected_receive(self, conn: Any) -> Any:
        receive = super()._make_protected_receive(conn)

        def receive_unless_it_should_end() -> Any:
            if context.worn_out() or terminate_handler_fired():
                sys.exit(EX_RECYCLE)  # the exit code of Celery's --max-tasks-per-child
            return receive()

        return receive_unless_it_should_end


class AsynPool(asynpool.AsynPool):
    """Celery's process pool with our processes. It keeps its tasks when the broker is lost."""

    Worker = Worker

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Start a task, unless the consumer has returned its message."""
        if not may_begin(options.get("accept_callback")):
            return None
        return super().apply_async(*args, **options)

    def flush(self) -> None:
        """Finish the tasks being written to a process, and return the others to their queues.

        Celery would forget every task that no process has confirmed, expecting a new delivery. But
        a task that was already written runs all the same.
        """
        for job in list(self.outbound_buffer):
            job.discard()
            request = job._accept_callback.__self__
            ownership.owner().give_back([request.message.delivery_tag])
            state.task_ready(request)
        self.outbound_buffer.clear()
        unconfirmed = [job for job in list(self._cache.values()) if not job._accepted]
        for job in unconfirmed:
            job._accepted = True
        try:
            super().flush()
        finally:
            for job in unconfirmed:
                job._accepted = False

    def _track_child_process(self, proc: Any, hub: Any) -> None:
        # Celery marks an ended process with None. If the connection is lost before a new process
        # replaces it, Celery would watch None, which would end the worker.
        if getattr(proc, "_sentinel_poll", proc) is not None:
            super()._track_child_process(proc, hub)

    def shrink(self, n: int = 1) -> None:
        """Run `n` fewer processes. Raises ValueError if `n` is larger than the pool.

        billiard would end all processes before it refuses the number.
        """
        if n > self._processes:
            raise ValueError(f"the pool has only {self._processes} processes")
        super().shrink(n)


class TaskPool(prefork.TaskPool):
    """Celery's prefork pool, with `AsynPool`."""

    Pool = AsynPool

"""Celery's prefork pool, whose processes also end when they are worn out or were told to end."""

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
    """A pool process that ends between two tasks once it is worn out for a caller's pool, or was
    told to end.

    What terminates a task is a SystemExit. A task may catch it, and Python drops it in a
    finalizer. For billiard every later task of that process would be one that was terminated.
    """

    def _make_protected_receive(self, conn: Any) -> Any:
        receive = super()._make_protected_receive(conn)

        def receive_unless_it_should_end() -> Any:
            if context.worn_out() or terminate_handler_fired():
                sys.exit(EX_RECYCLE)  # as after Celery's --max-tasks-per-child
            return receive()

        return receive_unless_it_should_end


class AsynPool(asynpool.AsynPool):
    """Celery's, with such processes, which keeps what it was given when the broker is lost."""

    Worker = Worker

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Celery's, for what is still this worker's."""
        if not may_begin(options.get("accept_callback")):
            return None
        return super().apply_async(*args, **options)

    def flush(self) -> None:
        """Finish what is being written to a process, and return what is not.

        Celery would forget every task that no process has confirmed yet, to have it delivered
        again. Those that were written are run all the same.
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
        # Celery has marked a process that has ended with None. A connection that is lost before
        # another one replaces it would have Celery watch None, which ends the worker.
        if getattr(proc, "_sentinel_poll", proc) is not None:
            super()._track_child_process(proc, hub)

    def shrink(self, n: int = 1) -> None:
        """Run fewer processes; billiard would end all of them before it refuses too many."""
        if n > self._processes:
            raise ValueError(f"the pool has only {self._processes} processes")
        super().shrink(n)


class TaskPool(prefork.TaskPool):
    """Celery's, with such processes."""

    Pool = AsynPool

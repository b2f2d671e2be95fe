"""Celery's prefork pool, whose processes also end when they are worn out or were told to end."""

import sys
from typing import Any

from billiard.common import terminate_handler_fired
from billiard.pool import EX_RECYCLE
from celery.concurrency import asynpool, prefork

from shared.calls import context


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
    """Celery's, with such processes."""

    Worker = Worker


class TaskPool(prefork.TaskPool):
    """Celery's, with such processes."""

    Pool = AsynPool

"""Celery's prefork pool, whose processes also end for a caller's ``maxtasksperchild``."""

import sys
from typing import Any

from billiard.pool import EX_RECYCLE
from celery.concurrency import asynpool, prefork

from shared import context


class Worker(asynpool.Worker):
    """A pool process that ends between two tasks once it is worn out for a caller's pool."""

    def _make_protected_receive(self, conn: Any) -> Any:
        receive = super()._make_protected_receive(conn)

        def receive_unless_worn_out() -> Any:
            if context.worn_out():
                sys.exit(EX_RECYCLE)  # as after Celery's --max-tasks-per-child
            return receive()

        return receive_unless_worn_out


class AsynPool(asynpool.AsynPool):
    """Celery's, with such processes."""

    Worker = Worker


class TaskPool(prefork.TaskPool):
    """Celery's, with such processes."""

    Pool = AsynPool

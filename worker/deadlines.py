"""Hard time limits on threads.

A thread cannot be killed, so a result that arrives after the time limit is discarded. At the
deadline the caller gets `TimeLimitExceeded` and the message becomes a dead letter, as in the other
pools. The thread occupies its slot until the task ends; both moments are logged.
"""

import math
import threading
from typing import Any

from billiard.exceptions import TimeLimitExceeded
from celery import signals, states
from celery.utils.log import get_logger
from celery.worker import state

from shared.broker import results

logger = get_logger(__name__)

# By delivery tag: the timers of running tasks, and the tasks that still run past their deadline.
_timers: dict[str, threading.Timer] = {}
_late: set[str] = set()


class Backend(results.Backend):
    """A result backend that waits for Redis without limit, and discards late outcomes."""

    patience_s = math.inf

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        """Store a result or state, but not that a task runs whose deadline is over."""
        if state == states.STARTED and comes_late(kwargs.get("request")):
            return result
        return super().store_result(task_id, result, state, *args, **kwargs)

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Store a result, unless the task's deadline is over."""
        if not comes_late(request):
            super().mark_as_done(task_id, result, request, *args, **kwargs)

    def mark_as_failure(
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Store an error, unless the task's deadline is over."""
        if not isinstance(exc, TimeLimitExceeded) and comes_late(request):
            return
        try:
            super().mark_as_failure(task_id, exc, traceback, request, *args, **kwargs)
        except (TypeError, ValueError, LookupError, AttributeError):
            # Its chain, chord or errbacks are invalid. Without this the task would never end.
            logger.exception("nothing that follows on %s can be told of its failure", task_id)
            self.store_result(task_id, exc, states.FAILURE, traceback=traceback)


def watch(request: Any, default_s: float | None) -> None:
    """Start a timer that calls Celery's `Request.on_timeout` at the hard time limit.

    `default_s` is the worker's limit for tasks without one.
    """
    limit_s = request.time_limits[0] or request.task.time_limit or default_s
    if not limit_s:
        return
    timer = threading.Timer(limit_s, _end, (request, limit_s))
    timer.daemon = True
    _timers[request.message.delivery_tag] = timer
    # Connect only when a task has a limit, because the signal costs every task some time.
    signals.task_postrun.connect(_forget, weak=False)
    timer.start()


def _forget(task_id: str, task: Any, **_: Any) -> None:
    """Cancel the timer of a task that has ended."""
    delivery_tag = _tag(task.request)
    timer = _timers.pop(delivery_tag, None)
    if timer is not None:
        timer.cancel()
    if delivery_tag in _late:
        _late.discard(delivery_tag)
        logger.warning("%s has ended now, too late: what it gave is not taken", task_id)


def _end(request: Any, limit_s: float) -> None:
    if request not in state.active_requests:
        return
    request.late = True
    _late.add(request.message.delivery_tag)
    request.on_timeout(False, limit_s)
    # Send the event that a process pool sends at a timeout.
    request.send_event("task-failed", exception=repr(TimeLimitExceeded(limit_s)))
    logger.warning("%s[%s] goes on in its thread and keeps its place", request.name, request.id)


def comes_late(request: Any) -> bool:
    """True if the task with this context is past its deadline."""
    return _tag(request) in _late


def _tag(request: Any) -> str:
    return str((getattr(request, "properties", None) or {}).get("delivery_tag", ""))

"""Hard time limits on threads: nothing ends a thread, so what it gives after its time is not taken.

At the deadline the caller has its `TimeLimitExceeded` and the message is a dead letter, as in
the other pools. The thread goes on to its end and keeps its place until then, which is logged.
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

# By delivery tag: what ends a run in time, and what is past its deadline and still runs.
_timers: dict[str, threading.Timer] = {}
_late: set[str] = set()


class Backend(results.Backend):
    """Waits for Redis however long, and takes no outcome of what is past its deadline."""

    patience_s = math.inf

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Store a result, unless it comes too late."""
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
        """Store an error, unless it comes too late."""
        if not isinstance(exc, TimeLimitExceeded) and comes_late(request):
            return
        try:
            super().mark_as_failure(task_id, exc, traceback, request, *args, **kwargs)
        except (TypeError, ValueError, LookupError, AttributeError):
            # Its chain, chord or errbacks are no tasks. The pool would never hear of its end.
            logger.exception("nothing that follows on %s can be told of its failure", task_id)
            self.store_result(task_id, exc, states.FAILURE, traceback=traceback)


def watch(request: Any, default_s: float | None) -> None:
    """Call Celery's `Request.on_timeout` when this request's hard time limit is over.

    `default_s` is the worker's own limit, for a task that has none.
    """
    limit_s = request.time_limits[0] or request.task.time_limit or default_s
    if not limit_s:
        return
    timer = threading.Timer(limit_s, _end, (request, limit_s))
    timer.daemon = True
    _timers[request.message.delivery_tag] = timer
    # Connected by the first task that has a limit: a signal costs each task something.
    signals.task_postrun.connect(_forget, weak=False)
    timer.start()


def _forget(task_id: str, task: Any, **_: Any) -> None:
    """Let no thread wait for the deadline of what has ended."""
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
    # A process pool says so, too, beside what Celery does at a timeout.
    request.send_event("task-failed", exception=repr(TimeLimitExceeded(limit_s)))
    logger.warning("%s[%s] goes on in its thread and keeps its place", request.name, request.id)


def comes_late(request: Any) -> bool:
    """Whether a task that ends now, its context given, was given up at its deadline."""
    return _tag(request) in _late


def _tag(request: Any) -> str:
    return str((getattr(request, "properties", None) or {}).get("delivery_tag", ""))

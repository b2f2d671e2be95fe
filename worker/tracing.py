"""Runs library calls without the parts of Celery's tracer that they do not need."""

import logging
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery._state import _task_stack
from celery.app import trace
from celery.app.task import Context
from celery.states import SUCCESS
from celery.utils.saferepr import saferepr

from shared.calls import encoding, running

# Headers for which Celery's tracer does more work. A call of our library has none of them.
_MORE = ("callbacks", "chain", "chord")

Tracer = Callable[..., Any]


def lean(task: Any, celerys: Tracer) -> Tracer:
    """A fast tracer for tasks that send their own answer. All other cases go to Celery's tracer.

    For each task, Celery's tracer checks callbacks, a chain, a chord, a result to store, a stored
    result, and connections to clean up. A failed call goes through Celery's tracer, which handles
    the failure.
    """
    success, postrun = signals.task_success, signals.task_postrun
    logs = trace.logger.isEnabledFor(logging.INFO)
    push, pop = task.request_stack.push, task.request_stack.pop
    run, size = task.run, task.resultrepr_maxsize

    def traced(uuid: str, args: Any, kwargs: Any, request: dict[str, Any]) -> Any:
        get = request.get
        if not get("ignore_result") or any(map(get, _MORE)) or signals.task_prerun.receivers:
            return celerys(uuid, args, kwargs, request)
        failed: Exception | None = None
        value = state = None
        began = time.monotonic()
        _task_stack.push(task)
        push(Context(request, called_directly=False))
        try:
            value = run(*args, **kwargs)
            took_s = time.monotonic() - began
            state = SUCCESS
            if success.receivers:
                success.send(sender=task, result=value, runtime=took_s)
        except Exception as error:
            failed = error
        finally:
            try:
                if failed is None and postrun.receivers:
                    postrun.send(
                        sender=task,
                        task_id=uuid,
                        task=task,
                        args=args,
                        kwargs=kwargs,
                        retval=value,
                        state=state,
                    )
            finally:
                pop()
                _task_stack.pop()
        if failed is not None:
            request[running.RAISED] = failed
            try:
                return celerys(uuid, args, kwargs, request)
            finally:
                # The exception refers to this frame and so to the request: break the cycle.
                del request[running.RAISED], failed
        shown = saferepr(value, size)
        if logs:
            said = {
                "id": uuid,
                "name": get("shadow") or task.name,
                "return_value": shown,
                "runtime": took_s,
                "args": get("argsrepr"),
                "kwargs": get("kwargsrepr"),
            }
            trace.info(trace.LOG_SUCCESS, said)
        return trace.trace_ok_t(value, None, took_s, shown)

    return traced


def install(tasks: Any) -> None:
    """Install the fast tracer for library calls. Call it after Celery has made its tracers."""
    task = tasks[encoding.NAME]
    task.__trace__ = lean(task, task.__trace__)

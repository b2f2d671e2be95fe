"""The three pools: processes, threads, greenlets."""

from typing import Any

from celery.worker import state

from shared.broker.transport import claim


def may_begin(accept_callback: Any) -> bool:
    """False if the consumer has returned the task's message, so that it must not begin."""
    request = getattr(accept_callback, "__self__", None)
    message = getattr(request, "message", None)
    if message is None or claim(message, by="pool"):
        return True
    state.task_ready(request)
    return False

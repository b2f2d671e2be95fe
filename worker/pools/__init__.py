"""The three pools: processes, threads, greenlets."""

from typing import Any

from celery.worker import state

from shared.broker.transport import claim


def may_begin(accept_callback: Any) -> bool:
    """Whether a task is still this worker's: its consumer may have returned its message."""
    request = getattr(accept_callback, "__self__", None)
    message = getattr(request, "message", None)
    if message is None or claim(message, by="pool"):
        return True
    state.task_ready(request)
    return False

"""Shows the outcome of a task, and cancels tasks."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis

from producer.arguments import WrongUsage
from shared.app import app
from shared.broker import cancelled
from shared.broker.connections import foreseen, store
from shared.errors import DaySixError
from shared.pools import PoolKind

FAILURES = frozenset({"FAILURE", "REVOKED"})
_ENDED = frozenset({"SUCCESS", *FAILURES})
_REPLY_WITHIN_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """A task as Celery's result backend has it; PENDING also stands for an id nobody knows."""

    id: str
    state: str
    task: str | None = None
    result: Any = None
    error: str | None = None
    worker: str | None = None
    traceback: str | None = None

    def __str__(self) -> str:
        name = self.task or "task"
        if self.state == "SUCCESS":
            return f"{name}[{self.id}] → {self.result!r}"
        if self.error:
            return f"{name}[{self.id}] {self.state}: {self.error}"
        if self.state == "PENDING":
            return f"{name}[{self.id}] PENDING: queued, or not known here"
        return f"{name}[{self.id}] {self.state}"


class NotReadable(DaySixError):
    """Raised when Redis holds something else than an outcome where an outcome should be."""

    def __init__(self, task_id: str, error: Exception) -> None:
        super().__init__(f"what Redis holds as the outcome of {task_id} is none: {error!r}"[:300])


class NotCancelled(DaySixError):
    """Raised when a task cannot be withdrawn any more."""


def look_up(task_id: str) -> Outcome:
    """The task's outcome so far."""
    _check_id(task_id)
    with foreseen():
        store().ping()
        try:
            return from_meta(task_id, app.backend.get_task_meta(task_id))
        except redis.RedisError:
            raise
        except Exception as error:
            # Celery reads it, whatever its parts are.
            raise NotReadable(task_id, error) from error


def from_meta(task_id: str, meta: dict[str, Any]) -> Outcome:
    """An outcome from what the result backend stored."""
    state, value = str(meta["status"]), meta.get("result")
    error = None
    if state in FAILURES:
        if isinstance(value, BaseException):
            error = f"{type(value).__name__}: {value}"
        elif isinstance(value, dict) and "exc_type" in value:
            message = value.get("exc_message") or ""
            text = (
                ", ".join(map(str, message)) if isinstance(message, (list, tuple)) else str(message)
            )
            error = f"{value['exc_type']}: {text}"
        else:
            error = str(value)
        value = None
    elif state != "SUCCESS":
        value = None
    name, worker, traceback = (
        None if part is None else str(part)
        for part in (meta.get("name"), meta.get("worker"), meta.get("traceback"))
    )
    return Outcome(task_id, state, name, value, error, worker, traceback)


def cancel(task_id: str) -> str:
    """Withdraw the task; what was done, as one line. `NotCancelled` when it is too late."""
    outcome = look_up(task_id)
    if outcome.state in _ENDED:
        raise NotCancelled(f"{task_id} has ended already: {outcome.state}")
    running = _running_on(task_id)
    if running and running.startswith(PoolKind.THREADS.value):
        raise NotCancelled(
            f"{task_id} runs on {running}: a thread cannot be ended from outside; it goes on to its end"
        )
    with foreseen():
        cancelled.add(store(), task_id)
    app.control.revoke(task_id, terminate=bool(running))
    return (
        f"ended {task_id} on {running}" if running else f"{task_id} is skipped when its turn comes"
    )


def _running_on(task_id: str) -> str | None:
    answers = app.control.inspect(timeout=_REPLY_WITHIN_S).query_task(task_id) or {}
    for node, found in answers.items():
        # From each worker: the ids that it knows, with what they are doing.
        known = found.get(task_id) if isinstance(found, dict) else None
        if isinstance(known, list) and known[:1] == ["active"]:
            return str(node)
    return None


def _check_id(task_id: str) -> None:
    try:
        UUID(task_id)
    except ValueError:
        raise WrongUsage(f"{task_id!r} is not a task's id; `producer send` prints it") from None

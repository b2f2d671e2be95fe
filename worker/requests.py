"""Handles messages whose task failed, was refused, or lost its process."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals, states
from celery.app.task import Context
from celery.exceptions import InvalidTaskError, Reject
from celery.utils.log import get_logger
from celery.worker import consumer as base_consumer
from celery.worker import request as base
from celery.worker import state
from kombu.exceptions import ContentDisallowed, DecodeError

from shared.app import app
from shared.broker import cancelled, deadletters, messages, ownership, recovery, renewing
from shared.broker.connections import store, until_back
from shared.calls import encoding, exceptions, running
from shared.errors import TaskRefused, WorkerLost
from shared.pools import PoolKind
from worker import deadlines, tracing
from worker.heartbeat import pool_kind
from worker.remote import Control

logger = get_logger(__name__)


# Header names that Celery's `Context` owns. All other headers are the sender's.
_CELERYS_HEADERS = frozenset(
    {*Context.__dict__, "lang", "task", "argsrepr", "kwargsrepr", "compression"}
)

_NO_LIMITS = [None, None]


class Request(base.Request):
    """A Celery request that refuses invalid tasks, and notes for the transport a lost process."""

    _body: Any
    late = False  # true after the deadline, while the task's thread goes on
    _postponed: list[bool] | None = None  # a list while the acknowledgement is postponed

    def __init_subclass__(cls) -> None:
        """Wrap `on_success` of the class that Celery makes for each task."""
        on_success = cls.on_success

        def on_end(self: Any, ended: Any) -> Any:
            if self.late:
                return None  # the caller was told at the deadline
            # Celery's gevent pool passes an ExceptionInfo if a task has called exit().
            lost = isinstance(ended, ExceptionInfo)
            return self.on_failure(ended) if lost else on_success(self, ended)

        cls.on_success = on_end

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
            self._read()
        except (InvalidTaskError, ContentDisallowed, DecodeError):
            raise
        except Exception as error:
            # Only the message is read here, so any error is an error of the message.
            raise InvalidTaskError(f"a part of it is missing or wrong: {error!r}") from error

    def _read(self) -> None:
        # The same as Celery's `_payload`, without its lock.
        payload = self._body if self._decoded else self.message.payload
        arguments, keywords, embedded = payload
        if not (
            isinstance(arguments, list | tuple)
            and isinstance(keywords, dict)
            and isinstance(embedded, dict | None)
        ):
            raise InvalidTaskError("its body is not arguments, keywords and options")
        if self._type in encoding.NAMES and not _is_call(arguments, keywords):
            raise InvalidTaskError("its arguments are not those of a call")
        header = self._request_dict.get
        if _kind is not PoolKind.PREFORK:
            # No other process gets the body, so keep it decoded.
            self._body, self._content_type = payload, None
        # Find the sender's headers here: Celery's `Context` would compare all its own names.
        custom = self._request_dict.keys() - _CELERYS_HEADERS
        self._request_dict.setdefault("headers", {name: header(name) for name in custom})

    def revoked(self) -> bool:
        """True if the task is revoked, or if its lease was lost and another worker has it now."""
        if ownership.owner().holds(self.message.delivery_tag):
            return bool(super().revoked())
        # The message stays with the other worker. This call only frees the slot.
        self.reject(requeue=True)
        state.task_ready(self)
        return True

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Note that the task has begun. On threads, start its time limit."""
        super().on_accepted(pid, time_accepted)
        if _kind is PoolKind.THREADS:
            deadlines.watch(self, _time_limit_s)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """End an overdue task; at a hard limit, make its message a dead letter first."""
        if not soft:
            self._keep_overdue(timeout)
        super().on_timeout(soft, timeout)

    def _keep_overdue(self, timeout: float) -> None:
        if not (state.should_terminate or self.task.name in encoding.NAMES):
            reason = f"TimeLimitExceeded: it took longer than {timeout:g} s"
            _keep(self.id, self.message.delivery_tag, reason, self.hostname)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Handle a failure as Celery does, and note its kind for the transport."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, Reject):
            self.message.refusal = f"the task rejected it: {error.reason}"
        elif isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            self.message.lost_worker = self.hostname
        elif isinstance(error, TimeLimitExceeded):
            # The process pool reports this before it calls `on_timeout`. Celery then acknowledges.
            self._keep_overdue(error.args[0])
        elif isinstance(error, MemoryError):
            # The task raised it. Celery would take it for an error of the worker, and end that.
            exc_info.exception = exceptions.stand_in("MemoryError", str(error))
        with self._acknowledging_last():
            return super().on_failure(exc_info, send_failed_event, return_ok)

    def _announce_revoked(self, *args: Any) -> None:
        with self._acknowledging_last():
            super()._announce_revoked(*args)

    def acknowledge(self) -> None:
        """Acknowledge the message, or note that it is to be acknowledged."""
        if self._postponed is None:
            super().acknowledge()
        else:
            self._postponed.append(True)

    @contextlib.contextmanager
    def _acknowledging_last(self) -> Iterator[None]:
        """Postpone the acknowledgement: Celery acknowledges before it sends the signal of the end.

        Who receives the signal makes a dead letter, or tells the caller. A worker that is killed
        before that must find the message again.
        """
        if self._postponed is not None:
            yield
            return
        self._postponed = []
        try:
            yield
        finally:
            postponed, self._postponed = self._postponed, None
            if postponed:
                self.acknowledge()


class Consumer(base_consumer.Consumer):
    """A Celery consumer that makes dead letters of messages that Celery would drop."""

    class Blueprint(base_consumer.Consumer.Blueprint):
        """Celery's steps, with our own remote control."""

        default_steps = [  # noqa: RUF012 - Celery's is a list too
            f"{Control.__module__}:{Control.__name__}" if step.endswith(":Control") else step
            for step in base_consumer.Consumer.Blueprint.default_steps
        ]

    def update_strategies(self) -> None:
        """Update the tasks' strategies, and install our own tracer for library calls."""
        super().update_strategies()
        tracing.install(self.app.tasks)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Make the handler of messages. Loads the ids of cancelled tasks first."""
        for task_id in cancelled.ids(store()):
            state.revoked.add(task_id)
        on_task_received = super().create_task_handler(*args, **kwargs)
        strategies, callbacks = self.strategies, self.on_task_message

        def on_message(message: Any) -> None:
            try:
                name = _task_of(message)
            except DecodeError as error:
                self.on_decode_error(message, error)
                return
            except Exception as error:
                self.on_invalid_task(None, message, error)
                return
            strategy = strategies.get(name)
            try:
                if strategy is None or not self._maximum_prefetch_restored:
                    on_task_received(message)
                    return
                # Acknowledge in the task's own thread. Celery would use its loop, because other
                # brokers allow only one thread.
                acknowledge, reject = message.ack_log_error, message.reject_log_error
                try:
                    strategy(message, None, acknowledge, reject, callbacks)
                except (InvalidTaskError, ContentDisallowed) as error:
                    self.on_invalid_task(None, message, error)
                except DecodeError as error:
                    self.on_decode_error(message, error)
            except KeyError as error:
                # kombu takes a KeyError for a lost connection and would reconnect for ever. This is
                # the worker's own error: end the worker, and count its messages as delivered.
                raise RuntimeError(f"a task could not be handed to the pool: {error!r}") from error

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Reject a message that cannot be decoded, with the reason."""
        message.refusal = f"{messages.UNREADABLE}: {exc!s:.300}"
        message.reject_log_error(logger, self.connection_errors)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Reject a message that names a task and is no valid call of it, with the reason."""
        reason = str(exc)
        refused = (
            reason if isinstance(exc, messages.NotAMessage) else f"{messages.REFUSED}: {reason}"
        )
        message.refusal = refused[:500]
        super().on_invalid_task(body, message, exc)


def _is_call(arguments: Sequence[Any], keywords: dict[str, Any]) -> bool:
    """True if these arguments are a payload, a reply stream and options."""
    payload, reply_to, *options = (*arguments, None, None)[: max(2, len(arguments))]
    return (
        type(payload) is bytes
        and type(reply_to) is str
        and len(options) <= 1
        and all(isinstance(some, dict | None) for some in options)
        and not keywords
    )


def _task_of(message: Any) -> str:
    """The name of a message's task. Raises if its body or headers are not those of a task."""
    payload, headers = message.payload, message.headers
    if not isinstance(payload, list | tuple | dict):
        raise InvalidTaskError(f"its body is a {type(payload).__name__}")
    if "task" in headers:
        if isinstance(payload, dict):
            # Celery also accepts a mix of both protocols. Then the headers win.
            messages.check_task({**payload, **headers})
        return str(headers["task"])
    if not (isinstance(payload, dict) and "task" in payload):
        raise InvalidTaskError("it names no task")
    messages.check_task(payload)
    return str(payload["task"])


@signals.worker_process_init.connect(weak=False)
def _trace_calls(**_: Any) -> None:
    tracing.install(app.tasks)


@signals.celeryd_after_setup.connect(weak=False)
def _name_the_owner(sender: str, **_: Any) -> None:
    ownership.node_name = sender
    # Start the renewer before the pool's processes are forked, because they share it.
    renewing.start()


_kind: PoolKind | None = None
_time_limit_s: float | None = None  # the worker's own


@signals.worker_ready.connect(weak=False)
def _introduce(sender: Any, **_: Any) -> None:
    global _kind, _time_limit_s  # noqa: PLW0603 - a worker has one pool
    _kind = pool_kind(type(sender.pool))
    _time_limit_s = sender.controller.time_limit
    owner = ownership.owner()
    owner.is_worker = True
    # Celery's exit code is not zero if the worker ends by an error.
    owner.fails = lambda: bool(sender.controller.exitcode)


@signals.worker_shutdown.connect(weak=False)
def _retire(sender: Any, **_: Any) -> None:
    owner = ownership.existing()
    if owner is not None:
        owner.retire(failed=owner.fails())
    renewing.stop()


@signals.task_failure.connect(weak=False)
def _bury(sender: Any, task_id: str, exception: Any, traceback: Any, einfo: Any, **_: Any) -> None:
    """Make a task a dead letter after its last failure. A library call has told its caller."""
    if sender.name in encoding.NAMES:
        return
    request = sender.request
    if request.id != task_id or not request.properties:
        return
    reason = f"{type(exception).__name__}: {exception}"
    trace = str(getattr(einfo, "traceback", "") or "")
    _keep(task_id, request.properties["delivery_tag"], reason, request.hostname, trace)


@signals.task_internal_error.connect(weak=False)
def _bury_unfinished(
    sender: Any, task_id: str, request: Any, exception: Any, einfo: Any, **_: Any
) -> None:
    """Make a task a dead letter if its function ran and its chain or callbacks were not sent."""
    if sender.name not in encoding.NAMES:
        reason = f"what follows on it was not sent: {type(exception).__name__}: {exception}"
        trace = str(getattr(einfo, "traceback", "") or "")
        _keep(task_id, request["properties"]["delivery_tag"], reason, request["hostname"], trace)


def _keep(task_id: str, delivery_tag: str, reason: str, worker: str, trace: str = "") -> None:
    """Make a message a dead letter; retries while Redis is unavailable."""
    # The message is acknowledged after this, so wait until it is stored. Celery, or the call, has
    # told the waiting caller.
    until_back(
        lambda: deadletters.bury(
            store(), delivery_tag, reason, worker=worker, traceback=trace, tell=False
        ),
        f"the dead letter of {task_id}",
        refused_too=True,
    )


def _tell(message: dict[str, Any], reason: str) -> None:
    """Tell the waiting caller that a message will not run any more."""
    headers = message["headers"]
    task_id, name = headers.get("id"), str(headers.get("shadow") or headers.get("task"))
    error = (WorkerLost if reason.startswith(messages.LOST) else TaskRefused)(name, reason)
    if not task_id or running.report_dead(message, error):
        return
    if not headers.get("ignore_result") and not recovery.answered(store(), {"id": task_id}):
        app.backend.mark_as_failure(task_id, error, request=_context(message))


def _context(message: dict[str, Any]) -> Context:
    """A task's context with its chord, chain and errbacks, as far as they can be read."""
    embedded: dict[str, Any] = {}
    try:
        options = encoding.body_of(message)[2]
        if isinstance(options, dict):
            embedded = {name: options.get(name) for name in ("chord", "chain", "errbacks")}
    except Exception as error:
        logger.debug("nothing is known of what follows on a dead letter: %r", error)
    return Context({**message["headers"], **embedded})


def _fail_again(message: dict[str, Any]) -> str:
    """Do what follows on a task's stored failure; returns the reason for the dead letter, or "".

    Celery stores the failure first. Then it fails the chain and calls the errbacks, and the dead
    letter comes last. The worker may have been lost in between.
    """
    task_id = message["headers"]["id"]
    meta = app.backend.get_task_meta(task_id)
    if meta["status"] != states.FAILURE:
        return ""
    error = meta["result"]
    app.backend.mark_as_failure(task_id, error, meta.get("traceback"), request=_context(message))
    return f"{type(error).__name__}: {error}"


deadletters.on_burial.append(_tell)
recovery.on_outcome.append(_fail_again)

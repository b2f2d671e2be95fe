"""How a worker treats the messages that it took, where Celery leaves it to the transport."""

from collections.abc import Sequence
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals
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


# What is no header of whoever sent the message, as Celery's `Context` has it.
_CELERYS_HEADERS = frozenset(
    {*Context.__dict__, "lang", "task", "argsrepr", "kwargsrepr", "compression"}
)

_NO_LIMITS = [None, None]


class Request(base.Request):
    """Refuses what is no task, and tells the transport when a pool process was lost."""

    _body: Any
    late = False  # given up at its deadline, while its thread goes on

    def __init_subclass__(cls) -> None:
        """Celery makes a class for each task, with an `on_success` of its own."""
        on_success = cls.on_success

        def on_end(self: Any, ended: Any) -> Any:
            if self.late:
                return None  # all were told at its deadline
            # Celery's gevent pool tells so that a task has called exit(): no result to take apart.
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
            # Nothing but the message is looked at here: whatever is wrong, it is the message.
            raise InvalidTaskError(f"a part of it is missing or wrong: {error!r}") from error

    def _read(self) -> None:
        # As Celery has it; its `_payload` takes a lock for each.
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
            # Nothing is sent to another process, so that it need not be decoded once more.
            self._body, self._content_type = payload, None
        # Celery's `Context` would find them by trying all names of its own, each time.
        custom = self._request_dict.keys() - _CELERYS_HEADERS
        self._request_dict.setdefault("headers", {name: header(name) for name in custom})

    def revoked(self) -> bool:
        """Celery's; true, too, of what was taken under a lease that is lost: others have it now."""
        if ownership.owner().holds(self.message.delivery_tag):
            return bool(super().revoked())
        # Whoever has it now keeps it: this only makes room for another.
        self.reject(requeue=True)
        state.task_ready(self)
        return True

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Celery's; threads have no time limits but these."""
        super().on_accepted(pid, time_accepted)
        if _kind is PoolKind.THREADS:
            deadlines.watch(self, _time_limit_s)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Celery's, after making a dead letter of what Celery would acknowledge and forget."""
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
        """Celery's, after a note for the transport."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, Reject):
            self.message.refusal = f"the task rejected it: {error.reason}"
        elif isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            self.message.lost_worker = self.hostname
        elif isinstance(error, TimeLimitExceeded):
            # The process pool says this before it calls `on_timeout`, and Celery acknowledges.
            self._keep_overdue(error.args[0])
        elif isinstance(error, MemoryError):
            # It was the task's. Celery takes it for the worker's own, and ends that.
            exc_info.exception = exceptions.stand_in("MemoryError", str(error))
        return super().on_failure(exc_info, send_failed_event, return_ok)


class Consumer(base_consumer.Consumer):
    """Makes dead letters of what Celery would acknowledge and forget."""

    class Blueprint(base_consumer.Consumer.Blueprint):
        """Celery's steps, with our own remote control."""

        default_steps = [  # noqa: RUF012 - Celery's is a list too
            f"{Control.__module__}:{Control.__name__}" if step.endswith(":Control") else step
            for step in base_consumer.Consumer.Blueprint.default_steps
        ]

    def update_strategies(self) -> None:
        """Celery's, with a tracer of our own for calls."""
        super().update_strategies()
        tracing.install(self.app.tasks)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's, made whenever consuming begins: what was cancelled before is known by then."""
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
                # Celery has its loop acknowledge, for brokers that no other thread may speak to.
                acknowledge, reject = message.ack_log_error, message.reject_log_error
                try:
                    strategy(message, None, acknowledge, reject, callbacks)
                except (InvalidTaskError, ContentDisallowed) as error:
                    self.on_invalid_task(None, message, error)
                except DecodeError as error:
                    self.on_decode_error(message, error)
            except KeyError as error:
                # kombu takes it for a lost connection, which would begin anew for ever. It is
                # neither that nor the message's error: the worker ends, and its messages count.
                raise RuntimeError(f"a task could not be handed to the pool: {error!r}") from error

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Reject what is no task, whatever it is."""
        message.refusal = f"{messages.UNREADABLE}: {exc!s:.300}"
        message.reject_log_error(logger, self.connection_errors)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Reject what has a task's name and is none, with the reason."""
        reason = str(exc)
        refused = (
            reason if isinstance(exc, messages.NotAMessage) else f"{messages.REFUSED}: {reason}"
        )
        message.refusal = refused[:500]
        super().on_invalid_task(body, message, exc)


def _is_call(arguments: Sequence[Any], keywords: dict[str, Any]) -> bool:
    """Whether these are a payload, a reply stream and options."""
    payload, reply_to, *options = (*arguments, None, None)[: max(2, len(arguments))]
    return (
        type(payload) is bytes
        and type(reply_to) is str
        and len(options) <= 1
        and all(isinstance(some, dict | None) for some in options)
        and not keywords
    )


def _task_of(message: Any) -> str:
    """The name of the task in a message; raises whatever its body or headers are not."""
    payload, headers = message.payload, message.headers
    if not isinstance(payload, list | tuple | dict):
        raise InvalidTaskError(f"its body is a {type(payload).__name__}")
    if "task" in headers:
        if isinstance(payload, dict):
            # Celery's hybrid of both protocols: the headers win.
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
    # Before the pool's processes are forked, which share it.
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
    # Celery's exit code of a worker that ends by an error, and not because it was told to.
    owner.fails = lambda: bool(sender.controller.exitcode)


@signals.worker_shutdown.connect(weak=False)
def _retire(sender: Any, **_: Any) -> None:
    owner = ownership.existing()
    if owner is not None:
        owner.retire(failed=owner.fails())
    renewing.stop()


@signals.task_failure.connect(weak=False)
def _bury(sender: Any, task_id: str, exception: Any, traceback: Any, einfo: Any, **_: Any) -> None:
    """Make a task that has failed for the last time a dead letter; a call has told its caller."""
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
    """Make a task a dead letter whose function ran, and whose chain or callbacks did not."""
    if sender.name not in encoding.NAMES:
        reason = f"what follows on it was not sent: {type(exception).__name__}: {exception}"
        trace = str(getattr(einfo, "traceback", "") or "")
        _keep(task_id, request["properties"]["delivery_tag"], reason, request["hostname"], trace)


def _keep(task_id: str, delivery_tag: str, reason: str, worker: str, trace: str = "") -> None:
    """Make a message a dead letter, however long Redis is away."""
    # It is acknowledged after this, so it must be kept before. Celery, or the call itself, has
    # told whoever waits.
    until_back(
        lambda: deadletters.bury(
            store(), delivery_tag, reason, worker=worker, traceback=trace, tell=False
        ),
        f"the dead letter of {task_id}",
        refused_too=True,
    )


def _tell(message: dict[str, Any], reason: str) -> None:
    """Tell whoever waits for a message that it will not be run any more."""
    headers = message["headers"]
    task_id, name = headers.get("id"), str(headers.get("shadow") or headers.get("task"))
    error = (WorkerLost if reason.startswith(messages.LOST) else TaskRefused)(name, reason)
    if not task_id or running.report_dead(message, error):
        return
    if not headers.get("ignore_result") and not recovery.answered(store(), {"id": task_id}):
        app.backend.mark_as_failure(task_id, error, request=_context(message))


def _context(message: dict[str, Any]) -> Context:
    """As far as it can be read: what waits for a task beside its result."""
    embedded: dict[str, Any] = {}
    try:
        options = encoding.body_of(message)[2]
        if isinstance(options, dict):
            embedded = {name: options.get(name) for name in ("chord", "chain", "errbacks")}
    except Exception as error:
        logger.debug("nothing is known of what follows on a dead letter: %r", error)
    return Context({**message["headers"], **embedded})


deadletters.on_burial.append(_tell)

"""How a worker treats the messages that it took, where Celery leaves it to the transport."""

from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals
from celery.app.task import Context
from celery.exceptions import InvalidTaskError
from celery.utils.log import get_logger
from celery.worker import consumer as base_consumer
from celery.worker import request as base
from celery.worker import state
from kombu.exceptions import ContentDisallowed, DecodeError

from shared.app import app
from shared.broker import cancelled, deadletters, messages, ownership, renewing
from shared.broker.connections import store, until_back
from shared.calls import encoding, exceptions, running
from shared.errors import WorkerLost
from shared.pools import PoolKind
from worker import deadlines, tracing
from worker.heartbeat import pool_kind
from worker.remote import Control

logger = get_logger(__name__)

# Headers that Celery's code takes to be of these types.
_HEADERS = (
    *((name, str) for name in ("id", "root_id", "parent_id", "group", "shadow")),
    *((name, list) for name in ("timelimit", "stamped_headers")),
    ("stamps", dict),
    ("retries", int),
)

# What is no header of whoever sent the message, as Celery's `Context` has it.
_CELERYS_HEADERS = frozenset(
    {*Context.__dict__, "lang", "task", "argsrepr", "kwargsrepr", "compression"}
)

_NO_LIMITS = [None, None]

# What Celery's code raises when a part of a message is missing or has a wrong type.
_WRONG_PARTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


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
            # As Celery has it; its `_payload` takes a lock for each.
            payload = self._body if self._decoded else self.message.payload
            arguments, keywords, embedded = payload
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidTaskError(f"a part of it is missing or wrong: {error!r}") from error
        if not (
            isinstance(arguments, list | tuple)
            and isinstance(keywords, dict)
            and isinstance(embedded, dict | None)
        ):
            raise InvalidTaskError("its body is not arguments, keywords and options")
        if not self.id:
            raise InvalidTaskError("it has no id")
        header = self._request_dict.get
        for name, kind in _HEADERS:
            value = header(name)
            if value is not None and not isinstance(value, kind):
                raise InvalidTaskError(f"its {name} is no {kind.__name__}: {value!r:.100}")
        if _kind is not PoolKind.PREFORK:
            # Nothing is sent to another process, so that it need not be decoded once more.
            self._body, self._content_type = payload, None
        # Celery's `Context` would find them by trying all names of its own, each time.
        custom = self._request_dict.keys() - _CELERYS_HEADERS
        self._request_dict.setdefault("headers", {name: header(name) for name in custom})
        limits = header("timelimit") or _NO_LIMITS
        if limits != _NO_LIMITS and (
            len(limits) != 2 or not all(isinstance(limit, int | float | None) for limit in limits)
        ):
            raise InvalidTaskError(f"its timelimit is not two numbers: {limits!r:.100}")

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
            deadlines.watch(self)

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
        if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
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
            headers = message.headers
            name = headers.get("task") if type(headers) is dict else None
            strategy = strategies.get(name) if type(name) is str else None
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
            except _WRONG_PARTS as error:
                # Celery would end the worker, and the next one that gets the message.
                if message.acknowledged:
                    raise
                logger.exception("a message that cannot be worked with")
                message.refusal = f"the worker refused it: {error!r}"
                message.reject_log_error(logger, self.connection_errors)

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Reject what is no task, whatever it is."""
        message.refusal = f"{messages.UNREADABLE}: {exc}"
        message.reject_log_error(logger, self.connection_errors)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Reject what has a task's name and is none, with the reason."""
        message.refusal = f"the worker refused it: {exc}"
        super().on_invalid_task(body, message, exc)


@signals.worker_process_init.connect(weak=False)
def _trace_calls(**_: Any) -> None:
    tracing.install(app.tasks)


@signals.celeryd_after_setup.connect(weak=False)
def _name_the_owner(sender: str, **_: Any) -> None:
    ownership.node_name = sender
    # Before the pool's processes are forked, which share it.
    renewing.start()


_kind: PoolKind | None = None


@signals.worker_ready.connect(weak=False)
def _introduce(sender: Any, **_: Any) -> None:
    global _kind  # noqa: PLW0603 - a worker has one pool
    _kind = pool_kind(type(sender.pool))
    owner = ownership.owner()
    owner.running = lambda: {
        request.message.delivery_tag for request in list(state.active_requests)
    }


@signals.worker_shutdown.connect(weak=False)
def _retire(**_: Any) -> None:
    owner = ownership.existing()
    if owner is not None:
        owner.retire()
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
    # It is acknowledged after this, so it must be kept before.
    until_back(
        lambda: deadletters.bury(store(), delivery_tag, reason, worker=worker, traceback=trace),
        f"the dead letter of {task_id}",
    )


def _tell(message: dict[str, Any], reason: str) -> None:
    """Tell whoever waits for a message that it will not be run any more."""
    headers = message["headers"]
    if headers["task"] in encoding.NAMES:
        running.report_dead(message, reason)
    elif not headers.get("ignore_result"):
        app.backend.mark_as_failure(headers["id"], WorkerLost(headers["task"], reason))


deadletters.on_burial.append(_tell)

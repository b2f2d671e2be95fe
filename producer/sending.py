"""Enqueue a task many times, in batches, in bounded memory; wait for results if asked."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import TimeoutError as CeleryTimeoutError

from producer.arguments import WrongUsage
from shared import publishing
from shared.app import app
from shared.broker import presence
from shared.broker.connections import foreseen, store
from shared.broker.keys import new_id
from shared.errors import QueueFull
from shared.settings import current
from shared.tasks import contracts
from shared.tasks.contracts import Contract

_ROOM_POLL_S = 0.25
_RESULT_POLL_S = 0.05
# More ids than this are neither kept nor printed: the memory stays bounded.
IDS_KEPT = 1_000


@dataclass
class Order:
    """A task to send, with its arguments and options."""

    contract: Contract
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    count: int = 1
    countdown_s: float | None = None
    expires_s: float | None = None
    time_limit_s: float | None = None
    wait_for_room: bool = True
    keep_ids: bool = False
    key: str = ""  # makes it count once, however often it is sent

    @property
    def is_function(self) -> bool:
        """Whether a plain function is to be called, by its reference."""
        return ":" in self.contract.name


@dataclass
class Sent:
    """The tasks that were sent."""

    count: int = 0
    seconds: float = 0.0
    ids: list[str] = field(default_factory=list)
    repeated: bool = False  # accepted before, under the same key

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.count / self.seconds if self.seconds else 0.0


def send(order: Order, on_batch: Callable[[int], None], on_full: Callable[[], None]) -> Sent:
    """Send it; `on_batch` is called with how many were sent. `QueueFull` says how many before."""
    try:
        template = publishing.Template(
            contracts.FUNCTION if order.is_function else order.contract.name,
            order.queue,
            shadow=order.contract.name if order.is_function else None,
            countdown=order.countdown_s,
            expires=order.expires_s,
            time_limit=order.time_limit_s,
        )
    except OverflowError:
        raise WrongUsage("--countdown or --expires lead beyond the end of the calendar") from None
    if order.key:
        return _send_once(order, template, on_full)
    sent = Sent()
    started = time.monotonic()
    limit = current().queue_limit
    while sent.count < order.count:
        ids = [new_id() for _ in range(min(publishing.BATCH, order.count - sent.count))]
        messages = [_render(order, template, task_id) for task_id in ids]
        while messages:
            pushed = publishing.push(order.queue, messages, limit=limit)
            if pushed == 0:
                if not order.wait_for_room:
                    raise QueueFull(order.queue, limit, sent.count)
                on_full()
                time.sleep(_ROOM_POLL_S)
                continue
            sent.count += pushed
            if order.keep_ids or len(sent.ids) < IDS_KEPT:
                sent.ids += ids[:pushed]
            messages, ids = messages[pushed:], ids[pushed:]
            sent.seconds = time.monotonic() - started
            on_batch(pushed)
    return sent


def id_of(key: str) -> str:
    """The id of the task that is sent under a key: the key itself where it is a UUID."""
    try:
        return str(uuid.UUID(key))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"day-six:{key}"))


def _send_once(order: Order, template: publishing.Template, on_full: Callable[[], None]) -> Sent:
    settings = current()
    task_id = id_of(order.key)
    message = _render(order, template, task_id)
    started = time.monotonic()
    while True:
        accepted, before = publishing.push_once(
            order.queue,
            task_id,
            message,
            limit=settings.queue_limit,
            within_s=settings.result_expires_s,
        )
        if accepted:
            return Sent(int(not before), time.monotonic() - started, [task_id], repeated=before)
        if not order.wait_for_room:
            raise QueueFull(order.queue, settings.queue_limit, 0)
        on_full()
        time.sleep(_ROOM_POLL_S)


def _render(order: Order, template: publishing.Template, task_id: str) -> bytes:
    if not order.is_function:
        return template.render(task_id, order.args, order.kwargs)
    call = [order.contract.name, order.args, order.kwargs]
    shown = {"argsrepr": repr(tuple(order.args))[:1000], "kwargsrepr": repr(order.kwargs)[:1000]}
    return template.render(task_id, call, {}, **shown)


def queued(queue: str) -> int:
    """The number of tasks that wait on a queue."""
    with foreseen():
        return int(store().llen(queue))


def nobody_listens(queue: str) -> bool:
    """Whether no living worker takes from that queue, so that tasks would only wait."""
    return not presence.consuming(queue)


def outcomes(ids: list[str], timeout_s: float | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each task's id and stored result, as they come; ``TimeoutError`` when time runs out."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    for start in range(0, len(ids), publishing.BATCH):
        left = None if deadline is None else max(deadline - time.monotonic(), 0.01)
        try:
            with foreseen():
                yield from app.backend.get_many(
                    ids[start : start + publishing.BATCH], timeout=left, interval=_RESULT_POLL_S
                )
        except CeleryTimeoutError as error:
            raise TimeoutError(str(error)) from None

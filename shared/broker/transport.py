"""kombu's Redis transport, changed so that a killed worker loses no message.

kombu pops a message and records it as unacknowledged in a second round trip. Here one script
(a "take", see `shared.broker.ownership`) does both, for several messages at once. The lists are
kombu's own: plain Celery producers, workers and Flower use the same queues.

kombu waits in BRPOP. A script cannot wait. So after a take that emptied the lists, the worker
sends nothing until Redis reports a change to one of the lists (CLIENT TRACKING). The take is
also repeated every few seconds, to check that the connection is alive.

While tasks are short, a take also prefetches messages beyond the free slots of the pool: as many
as the worker will begin within a moment. The channel keeps these messages. A message that has to
wait longer goes back to its queue.
"""

import contextlib
import functools
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty
from typing import Any

import redis
from hiredis import pack_command
from kombu.exceptions import KombuError
from kombu.log import get_logger
from kombu.transport import redis as base
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis.exceptions import NoScriptError, RedisError

from shared.broker import deadletters, ownership, pushing
from shared.broker.answers import Parser
from shared.broker.connections import AWAY
from shared.broker.events import listeners
from shared.broker.keys import OWNER_NAMES, TAKEN, is_queue
from shared.broker.messages import (
    HISTORY,
    NotAMessage,
    check_sendable,
    largest,
    parse_tag,
    read,
    tag,
)
from shared.broker.polling import KEEP_S, Poller
from shared.broker.recovery import (
    is_about_the_data,
    requeue_delivered,
    return_delivered,
    return_message,
    return_unacked,
)

logger = get_logger(__name__)

# The answers to remote control are in lists of such names.
_REPLIES_TO_CONTROL = ".pidbox"

# A record starts with the name of the message's list. This is the space reserved for the name.
_LIST_BYTES = 1_000
_AT_ONCE = 100
_AT_MOST = 1_000
# Prefetch beyond the free slots only messages that should begin within this time, up to this size.
_AHEAD_S = 0.05
_AHEAD_BYTES = 1_000_000
_SOON_S = 0.002
# Ask Redis to report changes that other connections make.
_TELL: Any = ("CLIENT", "TRACKING", "ON", "NOLOOP")
# kombu's decoder checks each JSON object for a `__type__` mark. Bodies without the mark skip it.
_JSON, _TYPED = "application/json", b"__type__"
# Celery's `event_exchange`.
_EVENTS = "celeryev"


class QoS(base.QoS):
    """Acknowledges, returns and rejects delivered messages. Safe to call from any thread."""

    # True while the consumer waits for a free slot.
    is_full = False

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a delivered message. The take has already recorded the message in Redis."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message. A background thread sends acknowledgements to Redis in batches."""
        ownership.owner().settle(delivery_tag)
        self._make_room(delivery_tag)

    def _make_room(self, delivery_tag: str) -> None:
        self._quick_ack(delivery_tag)
        # Check the flag only after freeing the slot. The consumer does it in the opposite order,
        # so one of the two always sees the other's change.
        if self.is_full:
            self.is_full = False
            self.channel.wake()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return the message to its queue, marked as redelivered, or make it a dead letter.

        A message whose pool process was lost has an attribute ``lost_worker`` and goes to the
        front. Any other message goes to the end, as in kombu. So a task that always rejects
        itself does not block the tasks behind it.
        """
        owner = ownership.owner()
        message = self._delivered.get(delivery_tag)
        worker = getattr(message, "lost_worker", None)
        if not requeue:
            reason = _refusal(message)
            owner.act(
                lambda client: deadletters.bury(client, delivery_tag, reason, worker=owner.hostname)
            )
        elif worker is None:
            owner.act(lambda client: requeue_delivered(client, delivery_tag))
        else:
            owner.act(lambda client: return_message(client, delivery_tag, worker))
        _do_at_once(owner)
        self._make_room(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Return the messages that no pool has begun."""
        self._flush()
        owner = ownership.existing()
        if owner is not None and owner.is_worker:
            # One of these may be why a worker fails: they go back counted, when it retires.
            if not owner.fails():
                owner.give_back(
                    delivery_tag
                    for delivery_tag, message in list(self._delivered.items())
                    if claim(message, by="queue")
                )
        elif owner is not None:
            # This process is no worker, so it runs none of them. Return the last message first,
            # so that the queue gets its old order.
            for delivery_tag in reversed(list(self._delivered)):
                owner.act(functools.partial(return_delivered, delivery_tag=delivery_tag))
            _do_at_once(owner)
        self._delivered.clear()

    def restore_by_tag(self, tag: str | bytes, client: Any = None, leftmost: bool = False) -> None:
        """Return one message, from our records or from a plain worker's ``unacked``."""
        ours = tag.decode(errors="replace") if isinstance(tag, bytes) else tag
        if parse_tag(ours):
            ownership.owner().act(lambda client: return_delivered(client, ours))
            return
        with self.channel.conn_or_acquire(client) as connected:
            if return_unacked(self.channel, connected, tag):
                super().restore_by_tag(tag, connected, leftmost)


def _do_at_once(owner: ownership.Owner) -> None:
    """Flush the owner's actions now if this process is no worker.

    Such a program may read the queue next, or end. In a worker the background thread flushes,
    because the consumer must not wait.
    """
    if not owner.is_worker:
        # If Redis is unavailable, the owner's own thread keeps trying.
        with contextlib.suppress(redis.RedisError):
            owner.flush()


def claim(message: Any, *, by: str) -> bool:
    """Claim a message for the pool or for its queue; true for the side that claims first.

    When the connection is lost, the consumer returns the messages that no pool has claimed. A
    message claimed by the pool stays with this worker: its delivery tag outlives the connection.
    """
    return bool(message.__dict__.setdefault("claimed_by", by) == by)


class Message(virtual.Message):
    """kombu's message, which decodes plain JSON faster with the same result."""

    def _decode(self) -> Any:
        quick = self.content_type == _JSON and _JSON in (self.accept or (_JSON,))
        if quick and type(self.body) is bytes and _TYPED not in self.body:
            # For invalid JSON, fall through: kombu raises its own error.
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(self.body)
        return super()._decode()


def _no_lists_of(answer: Any) -> list[bytes]:
    """Remove and return the keys at the end of a take's answer."""
    keys: list[bytes] = []
    while answer != -1 and answer and type(answer[-1]) is bytes:
        keys.append(answer.pop())
    return keys


class Channel(base.Channel):
    """A kombu channel that takes messages with a script instead of BRPOP."""

    QoS = QoS
    Message = Message

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._told_on: Any = None  # the socket on which Redis reports changes
        self._waiting = False  # true while waiting for such a report, with no command in flight
        self._under = ""  # the owner name of the last take
        self._number = 0  # the number for the next message taken under that name
        self._no_ack: set[str] = set()  # queues whose messages need no acknowledgement
        self._no_lists: set[bytes] = set()  # the queues that were reported to be no lists
        self._asked = 0  # how many messages the last take asked for
        self._ahead = 0  # how many of them to prefetch beyond the free slots
        self._mean_bytes = 1.0  # the mean message size of the last take
        self._settling: list[str] = []  # acknowledgements sent along with the take
        self._asking = False  # true while a take is in flight
        self._again = True  # true if the previous take may have run without us getting its reply
        # Messages taken and not delivered yet, for lack of a free slot: message, queue.
        self._kept: deque[tuple[dict[str, Any], str]] = deque()
        self._returning: set[str] = set()  # the first tag of each batch that is being returned
        self._answered_at = 0.0
        # The same pair for `basic_get`, which may run while a consumer's take is in flight.
        self._got_under = ""
        self._got_number = 0
        super().__init__(*args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Take one message and record it as taken. Returns None if the queue is empty."""
        if no_ack or not self.ack_emulation:
            return super().basic_get(queue, no_ack, **kwargs)
        while answer := self._take_one(queue):
            self._got_number = answer[0][0] + 1
            for message, _ in self._messages(self._got_under, answer):
                found = self.Message(message, channel=self)
                self.qos.append(found, found.delivery_tag)
                return found
        return None

    def _take_one(self, queue: str) -> Any:
        keys = self._lists([queue])
        # Use redis-py's own client. kombu's client for key prefixes changes a script's first key.
        client = redis.Redis(connection_pool=self.pool)
        while True:
            owner = ownership.owner()
            name = owner.name
            if self._got_under != name:
                self._got_under, self._got_number = name, owner.first_number(name)
            # The last 1 says "an answer may be lost": redis-py may send the command twice.
            answer = ownership.TAKE.call(
                client,
                *(len(keys) + 2, OWNER_NAMES, TAKEN + name, *keys),
                *(name, self._got_number, 1, largest() + _LIST_BYTES, 1),
            )
            if answer != -1:
                if _no_lists_of(answer):
                    raise redis.ResponseError(
                        f"WRONGTYPE the key of the queue {queue!r} is no list"
                    )
                with self.conn_or_acquire() as kombus:
                    self._maybe_update_queues_expire(kombus, queue)
                return answer
            owner.lost(name)

    def _size(self, queue: str) -> int:
        """Return a queue's length; 0 for a key that holds no list, which the take reports."""
        try:
            return int(super()._size(queue))
        except redis.ResponseError as error:
            if not is_about_the_data(error):
                raise
            return 0

    def _lists(self, queues: Sequence[str]) -> list[str]:
        """The keys of all lists of these queues, highest priority first."""
        return [
            self.global_keyprefix + self._q_for_pri(queue, pri)
            for pri in self.priority_steps
            for queue in queues
        ]

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume a queue. A queue added while the consumer waits is read at once."""
        unrecorded = no_ack or not self.ack_emulation
        (self._no_ack.add if unrecorded else self._no_ack.discard)(queue)
        consumer = super().basic_consume(queue, no_ack, *args, **kwargs)
        self._wake()
        self.wake()
        return consumer

    def _basic_cancel(self, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        self._give_back(lambda _, kept_in: kept_in == queue)
        return super()._basic_cancel(consumer_tag)

    def wake(self) -> None:
        """Make the consumer check again whether it may take more. Safe from any thread."""
        transport = self.connection
        if transport is not None:  # a closed channel has been replaced by another
            transport.cycle.wake()

    def _wake(self) -> None:
        if self._waiting:
            self._waiting, self._in_poll = False, None
            self._brpop_sent_at = time.monotonic()

    def _brpop_start(self, timeout: float | None = None) -> None:
        active = self.active_queues
        if self._no_ack.issuperset(active):
            # Mostly answers to remote control. Messages without acknowledgement are not recorded.
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(active))
        owner = ownership.owner()
        keys = self._lists(queues)
        connection = self.client.connection
        self._in_poll, self._waiting = connection, False
        self._asking, self._brpop_sent_at = True, time.monotonic()
        # Read the name once: another thread may find the lease lost, and change it, at any time.
        name = owner.name
        if self._under != name:
            self._under, self._number = name, owner.first_number(name)
        self._asked = self._how_many()
        self._settle_again()
        self._settling = owner.settle_along(name)
        is_new = self._told_on is not connection._sock
        again, self._again = self._again, True
        command: Any = (
            *(("EVAL", ownership.TAKE.text) if is_new else ("EVALSHA", ownership.TAKE.sha)),
            *(len(keys) + 2, OWNER_NAMES, TAKEN + name, *keys),
            *(name, self._number, self._asked, largest() + _LIST_BYTES, int(again)),
            *(delivery_tag.rpartition("#")[2] for delivery_tag in self._settling),
        )
        packed = [pack_command(_TELL), pack_command(command)] if is_new else [pack_command(command)]
        # No health check: its answer would come before the take's.
        connection.send_packed_command(packed, check_health=False)

    def _settle_again(self) -> None:
        """Queue the acknowledgements again that were sent with a take whose reply was lost."""
        if self._settling:
            ownership.owner().settle_again(self._settling)
            self._settling = []

    def _how_many(self) -> int:
        """The number of messages to ask for: the free slots, and a prefetch while tasks are short."""
        if not self.qos.prefetch_count:
            # Without an event loop, `drain_events` delivers one message. Its caller may want
            # only that one.
            return _AT_ONCE if self.connection.cycle.has_loop else 1
        if "can_consume" in vars(self.qos):
            # Celery's ``--disable-prefetch`` replaces `can_consume`: prefetch nothing.
            return 1
        room: int = max(1, self.qos.can_consume_max_estimate())
        # The pool has begun the messages of the last answer by now. Measure how long that took.
        took = time.monotonic() - self._answered_at
        if took > _AHEAD_S:
            self._ahead = 0 if took > 2 * _AHEAD_S else self._ahead // 2
        elif self._asked:
            fits = int(_AHEAD_BYTES / self._mean_bytes)
            self._ahead = min(_AT_ONCE, fits, 2 * self._ahead + 8)
        return min(_AT_MOST, room + self._ahead)

    def _brpop_read(self, **options: Any) -> bool:
        if not (self._waiting or self._asking):
            return bool(super()._brpop_read(**options))
        connection = self.client.connection
        try:
            if self._waiting:
                self._read_news(connection)
            answer = self._read_answer(connection)
        except Empty:
            raise
        except Exception as error:
            # The reply is lost. The take will be repeated under the same numbers.
            connection.disconnect()
            self._waiting = self._asking = False
            self._settle_again()
            # If Redis has forgotten the script, the next connection sends the script's text.
            raise Empty() if isinstance(error, NoScriptError) else error  # noqa: B904
        finally:
            if not (self._waiting or self._asking):
                self._in_poll = None
                self._flush_brpop_reauth()
        self._answered_at = time.monotonic()
        if answer == -1:
            ownership.owner().lost(self._under)
        elif answer:
            self._keep(answer)
            self.deliver()
        self._look_for_news(connection)
        if answer == -1 or not answer:
            raise Empty
        return True

    def _read_news(self, connection: Any) -> None:
        """After a report that a list has changed, take again. Raises if the connection is lost."""
        self._waiting = False
        connection.read_response(push_request=True)
        if self._kept or self._returning or not self.active_queues or not self.qos.can_consume():
            raise Empty
        # Send the take at once, and wait briefly for its answer, which usually comes quickly.
        self._brpop_start()
        if not connection.can_read(timeout=_SOON_S):
            raise Empty

    def _read_answer(self, connection: Any) -> Any:
        if self._told_on is not connection._sock:
            connection.read_response()
            self._told_on = connection._sock
        answer = connection.read_response()
        self._settling, self._asking, self._again = [], False, False
        for key in set(_no_lists_of(answer)) - self._no_lists:
            self._no_lists.add(key)
            logger.error(
                "nothing is taken from %r: this key holds no list; delete it, or rename the queue",
                key.decode(errors="replace"),
            )
        if answer != -1 and len(answer) < self._asked:
            # All lists are empty, so tasks arrive one by one: prefetch none beyond the free slots.
            self._asked = self._ahead = 0
            self._waiting = True
        return answer

    def _look_for_news(self, connection: Any) -> None:
        """Take again if a report of a change arrived in the same read as the answer.

        Called last, because the check takes as long as delivering a task.
        """
        # A lost connection is noticed at the next read.
        with contextlib.suppress(*self.connection_errors):
            if self._waiting and connection.can_read(timeout=0):
                self._wake()

    def hear(self) -> None:
        """Read what arrived while no take was in flight: a report of a change, or a disconnect."""
        connection = self.client.connection
        try:
            if connection.can_read(timeout=0):
                connection.read_response(push_request=True)
        except self.connection_errors:
            # The next take reconnects.
            connection.disconnect()

    def _keep(self, answer: list[list[Any]]) -> None:
        owner = ownership.owner()
        if self._under != owner.name:
            return  # the lease was lost meanwhile, so other workers have returned these messages
        self._number = answer[-1][0] + 1
        was_lost = False
        for message, queue in self._messages(owner.name, answer):
            self._kept.append((message, queue))
            was_lost = was_lost or HISTORY in message["headers"]
        self._mean_bytes = sum(len(entry) for _, entry, *_ in answer) / len(answer)
        if was_lost and self.qos.prefetch_count:
            # This message may have killed a worker. Keep few other messages beside it in case it
            # does so again.
            room = self.qos.can_consume_max_estimate()
            self._give_back(lambda index, queue: index >= room)

    def _messages(
        self, owner_name: str, answer: list[list[Any]]
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """Each message of a take, with its queue. An invalid message becomes a dead letter."""
        for number, entry, *size in answer:
            delivery_tag = tag(owner_name, number)
            list_name, _, text = entry.partition(b"\n")
            try:
                if size:
                    raise NotAMessage(f"it has {size[0]} bytes, the limit is {largest()}")
                message = read(text)
                queue = list_name.decode().removeprefix(self.global_keyprefix)
                queue = queue.rsplit(self.sep, 1)[0]
            except (NotAMessage, UnicodeDecodeError) as error:
                self._bury(delivery_tag, str(error))
                continue
            message["properties"]["delivery_tag"] = delivery_tag
            yield message, queue

    def deliver(self) -> bool:
        """Deliver kept messages while there are free slots. Returns whether it delivered any."""
        if self._kept and self._under != ownership.owner().name:
            self._kept.clear()  # the lease was lost, so other workers have returned these
        elif self._kept and time.monotonic() - self._answered_at > KEEP_S:
            # Another worker may be free to run these. A process that was paused returns all of
            # them here, before it knows that its lease has ended.
            self._give_back(lambda *_: True)
        delivered = False
        # Check `_closing` before each delivery: the receiver of a message may stop consuming.
        while self._kept and self.qos.can_consume() and not self._closing:
            message, queue = self._kept.popleft()
            delivered = True
            self._queue_cycle.rotate(queue)
            if queue in self._no_ack:
                ownership.owner().settle(message["properties"]["delivery_tag"])
            self.connection._deliver(message, queue)
        return delivered

    def _give_back(self, which: Callable[[int, str], bool]) -> None:
        """Return the kept messages for which `which` is true to the front of their queues."""
        if not self._kept:
            return
        given: list[str] = []
        kept: deque[tuple[dict[str, Any], str]] = deque()
        for index, (message, queue) in enumerate(self._kept):
            if which(index, queue):
                given.append(message["properties"]["delivery_tag"])
            else:
                kept.append((message, queue))
        self._kept, self._ahead = kept, 0
        if given and self._under == ownership.owner().name:
            # Take nothing until these are back: a new take would overtake them.
            self._returning.add(given[0])
            ownership.owner().give_back(given, functools.partial(self._returned, given[0]))

    def _returned(self, delivery_tag: str) -> None:
        self._returning.discard(delivery_tag)
        self.wake()

    def _bury(self, delivery_tag: str, reason: str) -> None:
        owner = ownership.owner()
        owner.act(
            lambda client: deadletters.bury(client, delivery_tag, reason, worker=owner.hostname)
        )

    @contextlib.contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """kombu's method; a closed channel raises `ConnectionError`, so that kombu replaces it.

        kombu closes a producer's channel if it had to reconnect while declaring a queue.
        """
        if not client and self.connection is None:
            raise redis.ConnectionError("the channel was closed")
        with super().conn_or_acquire(client) as connected:
            yield connected

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Put a message on its queue.

        Raises `MessageTooLarge` if workers would refuse it, and ValueError for a name that is no
        queue's.

        If kombu repeats a publish after a lost reply, the message is queued once.
        """
        check_sendable(message)
        if not (is_queue(queue) or queue.endswith(_REPLIES_TO_CONTROL)):
            raise ValueError(f"{queue!r} is a key of another kind in Redis: choose another queue")
        if kwargs.get("_publish_batch") or self.global_keyprefix or queue in self._expires:
            super()._put(queue, message, **kwargs)
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        given = pushing.parameters(key, message["properties"], dumps(message))
        with self.conn_or_acquire() as client:
            pushing.PUSH_ONE.call(client, *given)

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        """Publish a broadcast message, and note how many listeners received an event."""
        if exchange != _EVENTS:
            super()._put_fanout(exchange, message, routing_key, **kwargs)
            return
        with self.conn_or_acquire() as client:
            topics = self._get_publish_topics(exchange, routing_key)
            listeners.note(sum(client.publish(topic, dumps(message)) for topic in topics))

    def _receive_one(self, c: Any) -> Any:
        """Receive one broadcast message. Logs and skips a message that cannot be read."""
        try:
            return super()._receive_one(c)
        except Empty:
            return False
        except (RedisError, OSError, KombuError):
            # Errors of the connection. kombu's own list of these also contains KeyError.
            raise
        except Exception as error:
            logger.warning("skipped a broadcast message that cannot be read: %r", error)
            return False

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        delivery_tag = message.delivery_tag
        if parse_tag(delivery_tag):
            ownership.owner().act(lambda client: return_delivered(client, delivery_tag))
        else:
            super()._restore(message, leftmost)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        # Redis sends reports of changes between answers, which needs RESP3.
        parameters = super()._connparams(asynchronous)
        return {**parameters, "protocol": 3, "parser_class": Parser}

    def close(self) -> None:
        """Return the messages that are taken and not delivered, and close the channel."""
        self._wake()
        try:
            super().close()
        finally:
            self._settle_again()
            self._give_back(lambda *_: True)
            owner = ownership.existing()
            if owner is not None and self._under:
                owner.leave_number(self._under, self._number)
                self._under = ""
            if owner is not None and self._got_under:
                owner.leave_number(self._got_under, self._got_number)
                self._got_under = ""


class Transport(base.Transport):
    """kombu's Redis transport with our channels; `shared.app.Connection` chooses it."""

    Channel = Channel
    # kombu retries a publish after these errors, as often as its retry policy says. Without this
    # list it would give up if the connection is back and Redis still answers "not now".
    recoverable_connection_errors = (*AWAY, OSError)
    recoverable_channel_errors = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Register the sockets, and the pipe that wakes the consumer, with Celery's event loop."""
        super().register_with_event_loop(connection, loop)
        self.cycle.register_with_event_loop(loop)


def _refusal(message: Any) -> str:
    """Why a worker refused a message that it did not run."""
    from celery import current_app  # noqa: PLC0415 - a transport can be used without Celery

    name = (getattr(message, "headers", None) or {}).get("task")
    if name is not None and not (isinstance(name, str) and name in current_app.tasks):
        return f"no worker knows the task {name!r}"
    return getattr(message, "refusal", "the worker refused it")

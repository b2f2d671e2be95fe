"""kombu's Redis transport, without the moment in which a message can be lost.

kombu pops a message and records it as unacknowledged in a second round trip. Here one script
does both, for several messages at once (`shared.taken`). The lists are kombu's own: plain
Celery producers, workers and Flower use the same queues.

kombu waits in BRPOP. A script cannot wait, so an empty take is followed by silence: Redis has
been asked (CLIENT TRACKING) to tell when one of the lists changes. Now and then the take is
repeated anyhow, which shows whether the connection still lives.
"""

import contextlib
import os
import time
from queue import Empty
from typing import Any

from kombu.log import get_logger
from kombu.transport import redis as base
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from shared import dead, taken
from shared.events import listeners
from shared.settings import current

logger = get_logger(__name__)

# Of a message in its list: our own limit holds for what is inside, base64 makes it a third more.
_OVERHEAD = 1.5
_AT_ONCE = 100
_RESTORE_EVERY_S = 30.0
# Celery's `event_exchange`.
_EVENTS = "celeryev"


class QoS(base.QoS):
    """Acknowledges, returns and rejects what was taken."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that is recorded in Redis already."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; it reaches Redis a moment later, with others."""
        was_full = not self.can_consume()
        taken.owner().settle(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)
        if was_full:
            self.channel.connection.cycle.wake()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return the message to the front of its queue, or make it a dead letter.

        A message whose pool process was lost has an attribute ``lost_worker``.
        """
        owner = taken.owner()
        message = self._delivered.get(delivery_tag)
        worker = getattr(message, "lost_worker", None)
        if not requeue:
            reason = _refusal(message)
            owner.act(lambda client: dead.bury(client, delivery_tag, reason, worker=owner.hostname))
        elif worker is None:
            owner.give_back([delivery_tag])
        else:
            owner.act(lambda client: taken.return_lost(client, delivery_tag, worker))
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Return what was taken and is not being run."""
        owner = taken.existing()
        if owner is not None:
            owner.give_back_unless_run(self._delivered)
        self._delivered.clear()

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Return one message: ours, or one that a plain worker left in ``unacked``."""
        if taken.parse_tag(tag):
            taken.owner().give_back([tag])
        else:
            super().restore_by_tag(tag, client, leftmost)


class Channel(base.Channel):
    """Takes messages with a script, in place of BRPOP."""

    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._told_on: Any = None  # the socket on which Redis tells of changes
        self._waiting = False  # for news of a change, with no command under way
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Also look into the new queue at once."""
        consumer = super().basic_consume(queue, *args, **kwargs)
        self._wake()
        return consumer

    def _wake(self) -> None:
        if self._waiting:
            self._waiting, self._in_poll = False, False
            self._brpop_sent_at = time.monotonic()

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        owner = taken.owner()
        keys = [self._q_for_pri(queue, pri) for pri in self.priority_steps for queue in queues]
        connection = self.client.connection
        self._in_poll, self._waiting = connection, False
        self._brpop_sent_at = time.monotonic()
        commands = []
        if self._told_on is not connection._sock:
            commands.append(("CLIENT", "TRACKING", "ON", "NOLOOP"))
        self._under = owner.name
        most = self.qos.can_consume_max_estimate() if self.qos.prefetch_count else _AT_ONCE
        largest = int(current().message_limit_bytes * _OVERHEAD)
        commands.append(
            (
                *("EVAL", taken.TAKE, len(keys) + 2, taken.OWNERS, owner.key, *keys),
                *(owner.name, owner.next_number, max(1, most), largest),
            )
        )
        # No health check: its answer would come in between.
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)

    def _brpop_read(self, **options: Any) -> bool:
        connection = self.client.connection
        try:
            if self._waiting:
                self._waiting = False
                # Some list has changed, or the connection is lost and this raises.
                connection.read_response(push_request=True)
                raise Empty
            if self._told_on is not connection._sock:
                connection.read_response()
                self._told_on = connection._sock
            answer = connection.read_response()
            if not answer and not connection.can_read(timeout=0):
                self._waiting = True
                raise Empty
        except Empty:
            raise
        except Exception:
            # What was to be read is unknown now. The take is repeated under the same numbers.
            connection.disconnect()
            self._waiting = False
            raise
        finally:
            if not self._waiting:
                self._in_poll = False
                self._flush_brpop_reauth()
        if answer == -1:
            taken.owner().lost(self._under)
        elif answer:
            self._deliver_all(answer)
            return True
        raise Empty

    def hear(self) -> None:
        """Take note of what Redis says while nothing was asked: a change to a list, or the end."""
        connection = self.client.connection
        try:
            if connection.can_read(timeout=0):
                connection.read_response(push_request=True)
        except self.connection_errors:
            # The next take connects again.
            connection.disconnect()

    def _deliver_all(self, answer: list[list[Any]]) -> None:
        owner = taken.owner()
        if self._under != owner.name:
            return  # the lease was lost meanwhile, and these went back
        messages = []
        for number, entry, *size in answer:
            owner.next_number = number + 1
            delivery_tag = taken.tag(owner.name, number)
            list_name, _, text = entry.partition(b"\n")
            message = None if size else self._readable(text)
            if message is None:
                reason = f"it has {size[0]} bytes" if size else dead.UNREADABLE
                self._bury(delivery_tag, reason)
                continue
            message["properties"]["delivery_tag"] = delivery_tag
            messages.append((message, list_name.decode().rsplit(self.sep, 1)[0]))
        delivered = 0
        try:
            for message, queue in messages:
                delivered += 1
                self._queue_cycle.rotate(queue)
                self.connection._deliver(message, queue)
        finally:
            # An error, if there are any.
            rest = messages[delivered:]
            owner.give_back(message["properties"]["delivery_tag"] for message, _ in rest)

    def _bury(self, delivery_tag: str, reason: str) -> None:
        owner = taken.owner()
        owner.act(lambda client: dead.bury(client, delivery_tag, reason, worker=owner.hostname))

    def _readable(self, text: bytes) -> dict[str, Any] | None:
        """A message that kombu can work with, or None."""
        try:
            message: dict[str, Any] = loads(text.decode())
            properties, headers = message["properties"], message.get("headers")
            # kombu's JSON can make any of these something else.
            types = type(message), type(properties), type(properties.get("delivery_info", {}))
            if set(types) != {dict} or not isinstance(headers, dict | None):
                return None
            if message.get("body"):
                self.decode_body(message["body"], properties.get("body_encoding"))
        except Exception as error:
            # Whatever it holds: what cannot be read is no message.
            logger.debug("not a message: %r", error)
            return None
        return message

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        """Kombu's, and a note of whether anybody received an event."""
        if exchange != _EVENTS:
            super()._put_fanout(exchange, message, routing_key, **kwargs)
            return
        with self.conn_or_acquire() as client:
            topics = self._get_publish_topics(exchange, routing_key)
            listeners.note(sum(client.publish(topic, dumps(message)) for topic in topics))

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        if taken.parse_tag(message.delivery_tag):
            taken.owner().give_back([message.delivery_tag])
        else:
            super()._restore(message, leftmost)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        # The news of changes comes between the answers, which RESP3 allows.
        return {**super()._connparams(asynchronous), "protocol": 3}

    def close(self) -> None:
        """Return what was taken and not begun."""
        self._wake()
        super().close()


class Poller(base.MultiChannelPoller):
    """Also wakes up when there is room again, and repeats a take after a while without news."""

    def __init__(self) -> None:
        super().__init__()
        # Tasks end in other threads and greenlets, while the consumer waits for its sockets.
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._waits_in: Any = None
        self._loop: Any = None
        self._restored_at = 0.0
        self._subclients_checked_at = 0.0

    def wake(self) -> None:
        """Have the consumer look whether it may take more; from any thread."""
        # A full pipe wakes as well as a fuller one; a closed one has nobody to wake.
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._waker, b"!")

    def register_with_event_loop(self, loop: Any) -> None:
        """Wake Celery's event loop too, where there is one."""
        self._loop = loop
        loop.add_reader(self._woken, self._on_wake)

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)

    def _on_connection_disconnect(self, connection: Any) -> None:
        """Forget the socket, as kombu does with an event loop: its number may be another's soon."""
        self._discard_paused_connection(connection)
        closed = set()
        for channel, client, kind in list(self._chan_to_sock):
            if client.connection is connection:
                del self._chan_to_sock[channel, client, kind]
                closed.add((channel, kind))
        for fileno, channel_and_kind in list(self._fd_to_chan.items()):
            if channel_and_kind in closed:
                # epoll has forgotten a closed socket by itself.
                with contextlib.suppress(OSError):
                    self.poller.unregister(fileno)
                del self._fd_to_chan[fileno]

    def on_poll_start(self) -> None:
        """Look for wake-ups too, where there is no event loop."""
        if self._loop is None and self._waits_in is not self.poller:
            self._waits_in = self.poller
            self.poller.register(self._woken, self.eventflags)
        self._drop_stale()
        super().on_poll_start()

    def _drop_stale(self) -> None:
        # While there was no room, nothing was asked and a cut went unnoticed.
        for channel in self._channels:
            connection = getattr(channel.__dict__.get("client"), "connection", None)
            if connection is None or channel._in_poll or not channel._brpop_sent_at:
                continue
            silent = time.monotonic() - channel._brpop_sent_at
            if silent > channel.health_check_interval and channel.qos.can_consume():
                connection.disconnect()

    def handle_event(self, fileno: int, event: int) -> Any:
        """Kombu's, and the wake-up."""
        if fileno == self._woken:
            return self._on_wake()
        return super().handle_event(fileno, event)

    def on_readable(self, fileno: int) -> Any:
        """Kombu's; where no take is under way, there is no answer to wait for."""
        channel, kind = self._fd_to_chan.get(fileno, (None, None))
        if kind == "BRPOP" and not channel._in_poll:
            return channel.hear()
        return super().on_readable(fileno)

    def maybe_restore_messages(self) -> None:
        """Return what plain workers left behind; they wait for an hour, so this can wait too."""
        if time.monotonic() - self._restored_at >= _RESTORE_EVERY_S:
            self._restored_at = time.monotonic()
            super().maybe_restore_messages()

    def close(self) -> None:
        """Kombu's, and the pipe."""
        if self._loop is not None:
            self._loop.remove_reader(self._woken)
        super().close()
        # Nobody may write into a number that is another file's by then.
        ends = self._woken, self._waker
        self._woken = self._waker = -1
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)

    def maybe_check_brpop_health(self) -> None:
        """Have channels that have long heard nothing take once more."""
        for channel in self._channels:
            sent = channel._brpop_sent_at
            if channel._waiting and time.monotonic() - sent >= channel.health_check_interval:
                channel._wake()
        super().maybe_check_brpop_health()
        if self._loop is None:
            # Celery's event loop has a timer for it.
            self._check_subclients()

    def _check_subclients(self) -> None:
        every_s = min((channel.health_check_interval for channel in self._channels), default=None)
        now = time.monotonic()
        if every_s is not None and now - self._subclients_checked_at >= every_s:
            self._subclients_checked_at = now
            self.maybe_check_subclient_health()


class Transport(base.Transport):
    """``broker_transport = "shared.transport:Transport"``."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Kombu's, and the wake-up."""
        super().register_with_event_loop(connection, loop)
        self.cycle.register_with_event_loop(loop)


def _refusal(message: Any) -> str:
    """Why a worker refused a message that it did not run."""
    from celery import current_app  # noqa: PLC0415 - a transport can be used without Celery

    name = (getattr(message, "headers", None) or {}).get("task")
    if name is not None and not (isinstance(name, str) and name in current_app.tasks):
        return f"no worker knows the task {name!r}"
    return getattr(message, "refusal", "the worker refused it")

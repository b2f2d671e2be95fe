"""The loop that asks Redis for messages: when to ask, and what wakes it."""

import contextlib
import os
import time
from typing import Any

from kombu.transport import redis as base

# A message prefetched beyond the free slots waits here at most this long.
KEEP_S = 0.5
_RESTORE_EVERY_S = 30.0


class Poller(base.MultiChannelPoller):
    """Waits for the sockets; also wakes when a slot is free, and repeats a take that is silent."""

    def __init__(self) -> None:
        super().__init__()
        # Tasks end in other threads and greenlets while the consumer waits for its sockets. They
        # write into this pipe to wake the consumer.
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._waits_in: Any = None
        self._loop: Any = None
        self._restored_at = 0.0
        self._subclients_checked_at = 0.0

    @property
    def has_loop(self) -> bool:
        """True if Celery's event loop waits for the sockets."""
        return self._loop is not None

    def wake(self) -> None:
        """Make the consumer check whether it may take more. Safe from any thread."""
        # A full pipe wakes the consumer already. A closed pipe has no consumer.
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._waker, b"!")

    def register_with_event_loop(self, loop: Any) -> None:
        """Let Celery's event loop wait for the sockets and for the wake-up pipe."""
        self._loop = loop
        loop.add_reader(self._woken, self._on_wake)
        # Channels that listened before the loop existed.
        for fileno in self._fd_to_chan:
            loop.add_reader(fileno, self.on_readable, fileno)

    @property
    def fds(self) -> dict[int, Any]:
        """Always empty, because kombu would add these sockets to the loop again at each turn."""
        return {}

    def _register(self, channel: Any, client: Any, type: str) -> None:  # noqa: A002 - kombu's name
        super()._register(channel, client, type)
        if self._loop is not None:
            fileno = client.connection._sock.fileno()
            self._loop.add_reader(fileno, self.on_readable, fileno)

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)

    def _on_connection_disconnect(self, connection: Any) -> None:
        """Forget a closed socket: its file number may soon belong to another file."""
        self._discard_paused_connection(connection)
        closed = set()
        for channel, client, kind in list(self._chan_to_sock):
            if client.connection is connection:
                del self._chan_to_sock[channel, client, kind]
                closed.add((channel, kind))
        for fileno, channel_and_kind in list(self._fd_to_chan.items()):
            if channel_and_kind in closed:
                # epoll forgets a closed socket by itself.
                with contextlib.suppress(OSError):
                    self.poller.unregister(fileno)
                del self._fd_to_chan[fileno]

    def get(self, callback: Any, timeout: float | None = None) -> None:
        """Deliver kept messages, or wait for new ones. Used where there is no event loop."""
        if not self._deliver_kept():
            if any(channel._kept for channel in self._channels):
                # Wake up in time to return messages that have waited too long.
                timeout = KEEP_S if timeout is None else min(timeout, KEEP_S)
            super().get(callback, timeout)

    def _deliver_kept(self) -> bool:
        delivered = False
        for channel in list(self._channels):
            if channel._kept:
                delivered = channel.deliver() or delivered
        return delivered

    def on_poll_start(self) -> None:
        """Before each wait: deliver kept messages to free slots, and take more if possible."""
        if self._loop is None and self._waits_in is not self.poller:
            self._waits_in = self.poller
            self.poller.register(self._woken, self.eventflags)
        if self._loop is not None:
            self._deliver_kept()
        for channel in self._channels:
            if not channel.active_queues:
                pass  # this channel only publishes, or only receives broadcasts
            elif channel._kept or not channel.qos.can_consume():
                channel.qos.is_full = True
                if channel.qos.can_consume():
                    self.wake()  # a message was acknowledged in between
            elif not (channel._in_poll or channel._returning):
                self._take(channel)
            if channel.active_fanout_queues and not channel._in_listen:
                self._register_LISTEN(channel)

    def _take(self, channel: Any) -> None:
        connection = getattr(channel.__dict__.get("client"), "connection", None)
        if connection is not None and channel._brpop_sent_at:
            # Without free slots no command was sent, so a cut connection went unnoticed.
            silent = time.monotonic() - channel._brpop_sent_at
            if silent > channel.health_check_interval:
                connection.disconnect()
        self._register_BRPOP(channel)

    def handle_event(self, fileno: int, event: int) -> Any:
        """Handle a ready socket, or the wake-up pipe."""
        if fileno == self._woken:
            return self._on_wake()
        return super().handle_event(fileno, event)

    def on_readable(self, fileno: int) -> Any:
        """Read from a ready socket. Without a take in flight, the data is no answer to one."""
        channel, kind = self._fd_to_chan.get(fileno, (None, None))
        if kind == "BRPOP" and not channel._in_poll:
            return channel.hear()
        return channel.handlers[kind]() if channel is not None else None

    def maybe_restore_messages(self) -> None:
        """Return messages that plain workers left in ``unacked``; checked every 30 s.

        kombu returns such messages only after an hour, so this check is not urgent.
        """
        if time.monotonic() - self._restored_at < _RESTORE_EVERY_S:
            return
        self._restored_at = time.monotonic()
        # A process that only reads answers leaves this to the workers. Flower lacks the rights.
        if not all(channel._no_ack.issuperset(channel.active_queues) for channel in self._channels):
            super().maybe_restore_messages()

    def close(self) -> None:
        """Close the poller and the wake-up pipe."""
        if self._loop is not None:
            self._loop.remove_reader(self._woken)
        super().close()
        # Forget the numbers before closing: another file may get them, and `wake` writes there.
        ends = self._woken, self._waker
        self._woken = self._waker = -1
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)

    def maybe_check_brpop_health(self) -> None:
        """Repeat the take on channels that have heard nothing for the health check interval."""
        for channel in self._channels:
            sent = channel._brpop_sent_at
            if channel._waiting and time.monotonic() - sent >= channel.health_check_interval:
                channel._wake()
        super().maybe_check_brpop_health()
        if self._loop is None:
            # With an event loop, Celery has a timer for this check.
            self._check_subclients()

    def _check_subclients(self) -> None:
        every_s = min((channel.health_check_interval for channel in self._channels), default=None)
        now = time.monotonic()
        if every_s is not None and now - self._subclients_checked_at >= every_s:
            self._subclients_checked_at = now
            self.maybe_check_subclient_health()

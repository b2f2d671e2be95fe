"""Receives outcomes: each client process has one reply stream, and one thread that reads it.

    worker                         Redis                        client
    run the call
    XADD replies:<client> ───────► stream with a lease ───────► XREAD (blocking)
    acknowledge                                                  resolve the waiting result

The stream lives as long as its client renews the lease. A worker never creates a stream, so a
client that died leaves nothing behind. The client reads by position: after a lost connection it
reads the same entries again. Popping from a list would lose the entries in flight.
"""

import atexit
import logging
import time
from collections.abc import Callable
from typing import Any

import redis

from shared.broker import renewing
from shared.broker.connections import LONGEST_PAUSE_S, REFUSALS, Absence, ask, connect, foreseen
from shared.broker.keys import REPLIES, new_word
from shared.broker.per_process import PerProcess
from shared.calls import output
from shared.endings import Background
from shared.errors import BrokerGone, BrokerRefused, RepliesLost
from shared.settings import Settings, current

logger = logging.getLogger(__name__)

OnReply = Callable[["bytes | Exception"], None]
OnNews = Callable[[bytes], None]

_READ_AT_ONCE = 500
# Entries that were read are trimmed after so many entries, so many bytes, or so much time.
_TRIM_ENTRIES = 500
_TRIM_BYTES = 1_000_000
_QUIET_S = 0.5
# How long to wait for the thread at exit. It may be in a command that Redis does not answer.
_END_WITHIN_S = 2.0


class Inbox:
    """This process's reply stream, and the thread that reads it."""

    def __init__(self, settings: Settings) -> None:
        self.name = REPLIES + new_word()
        self._settings = settings
        self._lease_ms = int(settings.reply_lease_s * 1000)
        self._block_s = min(settings.reply_lease_s / 4, 5.0)
        # Reads of the stream block, so this connection has a longer timeout than others.
        self._redis: Any = connect(
            settings, answer_within_s=self._block_s + settings.redis_timeout_s
        )
        # Call id → receiver of the outcome, prefix of the output, receiver of news.
        # Each use is one atomic operation of a dict, so it needs no lock.
        self._waiting: dict[str, tuple[OnReply, str, OnNews | None]] = {}
        self._read_entries = self._read_bytes = 0  # since the stream was trimmed
        with foreseen(settings):
            self._position = self._create()
        renewing.replies.every(settings.reply_lease_s / 4, "PEXPIRE")
        renewing.replies.keep(self.name, self.name, self._lease_ms)
        self._closed = False
        self._thread = Background(self._read_forever, "replies", end=self._wake_to_end)
        self._thread.start()

    def expect(
        self, call_id: str, on_reply: OnReply, *, name: str = "", on_news: OnNews | None = None
    ) -> None:
        """Register a call. The reading thread calls `on_reply` once, with the outcome's bytes.

        It calls `on_reply` with an exception if no outcome can arrive any more. With
        ``OUTPUT=prefixed``, `name` precedes the call's output.
        """
        self._waiting[call_id] = (on_reply, name, on_news)

    def forget(self, call_id: str) -> None:
        """Stop waiting for a call. A later outcome is ignored."""
        self._waiting.pop(call_id, None)

    def close(self) -> None:
        """Remove the stream from Redis."""
        renewing.replies.drop(self.name)
        self._thread.end(_END_WITHIN_S)
        try:
            connect(self._settings, answer_within_s=1.0).delete(self.name)
        except redis.RedisError as error:
            logger.debug("the reply stream stays until its lease ends: %s", error)

    def _wake_to_end(self) -> None:
        """End the reading thread by an entry on the stream, for which the thread waits."""
        if self._closed:
            return
        self._closed = True
        try:
            client = connect(self._settings, answer_within_s=1.0)
            client.xadd(self.name, {"id": "bye"}, nomkstream=True)
        except redis.RedisError as error:
            logger.debug("the reading thread is not told: %s", error)

    def _create(self) -> str:
        position = self._redis.xadd(self.name, {"id": "hello"}, maxlen=1)
        self._redis.pexpire(self.name, self._lease_ms)
        return str(position.decode())

    def _read_forever(self) -> None:
        renewed_at = time.monotonic()
        absence = Absence("the reply stream", patience_s=self._settings.redis_gone_s)
        while not self._closed:
            try:
                if time.monotonic() - renewed_at >= self._settings.reply_lease_s / 4:
                    renewing.look_after()
                    if not self._redis.pexpire(self.name, self._lease_ms):
                        self._fail_all(RepliesLost(self._settings.reply_lease_s))
                        self._position = self._create()
                    renewed_at = time.monotonic()
                answer = self._read(_QUIET_S if self._read_entries else self._block_s)
                if self._closed:
                    return
                absence.end()
                self._deliver(answer)
                self._trim(quiet=not answer)
            except REFUSALS as error:
                self._fail_all(BrokerRefused(self._settings.redis_address, str(error)))
                time.sleep(LONGEST_PAUSE_S)
            except redis.RedisError as error:
                if not self._closed:
                    try:
                        absence.wait(error)
                    except BrokerGone as gone:
                        self._fail_all(gone)
                        time.sleep(LONGEST_PAUSE_S)
            except Exception as error:
                # Go on, because no other thread reads the stream. Fail the waiting calls.
                logger.exception("the reply stream was not read")
                self._fail_all(error)
                time.sleep(LONGEST_PAUSE_S)

    def _read(self, wait_s: float) -> list[Any]:
        """The next entries: for each its position, and its fields and values in turn."""
        command = ("XREAD", "COUNT", _READ_AT_ONCE, "BLOCK", int(wait_s * 1000))
        answer = ask(self._redis, *command, "STREAMS", self.name, self._position)
        # RESP3 answers {name: entries}, RESP2 [[name, entries]].
        streams = answer.values() if isinstance(answer, dict) else [e for _, e in answer or ()]
        return [entry for entries in streams for entry in entries]

    def _deliver(self, entries: list[Any]) -> None:
        for position, parts in entries:
            self._position = position.decode()
            self._read_entries += 1
            try:
                self._read_one(dict(zip(parts[::2], parts[1::2], strict=True)))
            except Exception as error:
                # Other programs may write to the stream too. Skip invalid entries.
                logger.warning("skipped an invalid entry of the reply stream: %r", error)

    def _read_one(self, fields: dict[bytes, bytes]) -> None:
        call_id = fields[b"id"].decode()
        if b"outcome" in fields:
            self._read_bytes += len(fields[b"outcome"])
            self._hand_over(call_id, fields[b"outcome"])
        elif b"news" in fields:
            self._pass_on(call_id, fields[b"news"])
        else:
            self._show(call_id, fields)

    def _trim(self, *, quiet: bool) -> None:
        if self._read_entries >= (1 if quiet else _TRIM_ENTRIES) or self._read_bytes >= _TRIM_BYTES:
            self._redis.xtrim(self.name, minid=self._position, approximate=False)
            self._read_entries = self._read_bytes = 0

    def _pass_on(self, call_id: str, news: bytes) -> None:
        _, _, on_news = self._waiting.get(call_id, _NOBODY)
        if on_news is not None:
            self._call(on_news, news)

    def _hand_over(self, call_id: str, reply: bytes | Exception) -> None:
        on_reply, _, _ = self._waiting.pop(call_id, _NOBODY)
        if on_reply is not None:  # a call that was delivered twice has a second answer
            self._call(on_reply, reply)

    def _call(self, callback: Callable[[Any], None], payload: bytes | Exception) -> None:
        try:
            callback(payload)
        except BaseException:
            # A failing callback, even one that exits, must not stop the answers of other calls.
            logger.exception("a callback failed")

    def _show(self, call_id: str, fields: dict[bytes, bytes]) -> None:
        on_reply, name, _ = self._waiting.get(call_id, _NOBODY)
        if on_reply is None:
            return  # the caller does not wait for this call any more
        prefix = f"{name}: " if self._settings.output == "prefixed" else ""
        for stream in output.STREAMS:
            if stream.encode() in fields:
                text = fields[stream.encode()].decode("utf-8", "replace")
                try:
                    output.show(stream, text, prefix)
                except (OSError, ValueError, AttributeError) as error:
                    # The terminal is closed or missing, or cannot show a character. Go on: the
                    # results matter more.
                    logger.debug("output of %s is not shown: %s", name, error)

    def _fail_all(self, error: Exception) -> None:
        for call_id in list(self._waiting):
            self._hand_over(call_id, error)


_NOBODY: tuple[OnReply | None, str, OnNews | None] = (None, "", None)

# This process's inbox, opened at the first call; a forked child opens its own.
inbox = PerProcess(lambda: Inbox(current()))


# Registered before the exit functions of pools and processes, which wait for answers, so that this
# one runs after them.
@atexit.register
def _close_at_exit() -> None:
    if (opened := inbox.existing()) is not None:
        opened.close()

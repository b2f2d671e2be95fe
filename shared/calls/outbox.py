"""Sends the outcomes of many calls of a worker process in one round trip.

    one thread or greenlet         another                          Redis
    put(outcome 1)
    send() ──────────────────────► put(outcome 2), and goes on ───► outcome 1, acknowledged
    send() ───────────────────────────────────────────────────────► outcome 2, acknowledged

A thread that puts an outcome sends all waiting outcomes, unless another thread is sending. So a
single outcome is not delayed. Redis stores an outcome and acknowledges its message in one step.
Until then the message stays taken. If the worker is killed before that, the call runs again.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from shared.broker import ownership
from shared.broker.connections import Lua, store, until_back
from shared.broker.messages import parse_tag

logger = logging.getLogger(__name__)

Entry = dict[str, str | bytes]

_AT_ONCE = 100
_AT_ONCE_BYTES = 1_000_000

# ARGV: for each outcome the stream, the worker's taken hash, the message's number in it, the number
# of entries, and for each entry the number of its fields and values, and the fields and values.
# Returns for each outcome 1, an error's text, or 0. With 0 the message is not in the hash any more:
# it was answered already, or has gone to another worker.
SEND = Lua("""
local went, at = {}, 1
while at <= #ARGV do
    local stream, held, number, entries = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local said = redis.call('hdel', held, number)
    at = at + 4
    for _ = 1, tonumber(entries) do
        local last = at + tonumber(ARGV[at])
        if said == 1 then
            local added = redis.pcall('xadd', stream, 'nomkstream', '*', unpack(ARGV, at + 1, last))
            if type(added) == 'table' and added.err then
                said = added.err
            end
        end
        at = last + 1
    end
    table.insert(went, said)
end
return went
""")


@dataclass(frozen=True)
class Answer:
    """One call's outcome and its last output, to be sent to a client's stream."""

    reply_to: str
    delivery_tag: str
    entries: Sequence[dict[str, Any]]

    def arguments(self) -> list[Any]:
        """The arguments of `SEND` for this answer."""
        key, number = parse_tag(self.delivery_tag) or ("", "")
        arguments: list[Any] = [self.reply_to, key, number, len(self.entries)]
        for entry in self.entries:
            arguments.append(2 * len(entry))
            for item in entry.items():
                arguments.extend(item)
        return arguments


def send(client: redis.Redis, answers: Sequence[Answer]) -> None:
    """Append outcomes to their streams and acknowledge their messages.

    Raises `redis.RedisError`.
    """
    arguments = [part for answer in answers for part in answer.arguments()]
    went = SEND.ask(client, 0, *arguments)
    for answer, said in zip(answers, went, strict=True):
        if said != 1:
            logger.info("no answer for %s: %s", answer.entries[-1]["id"], said)


class Outbox:
    """The waiting outcomes of a worker process. All methods are safe from any thread."""

    def __init__(self) -> None:
        self._waiting: deque[Answer] = deque()
        self._sending = threading.Lock()

    def put(self, answer: Answer) -> None:
        """Send an outcome, or leave it to the thread that is sending.

        The message is acknowledged together with its outcome. While Redis is unavailable, both
        wait.
        """
        self._waiting.append(answer)
        try:
            while self._waiting and self._sending.acquire(blocking=False):
                self._send_and_release(store())
        except redis.RedisError as error:
            logger.warning("%d outcomes wait for Redis: %s", len(self._waiting), error)
            ownership.owner().act(self._send_all)
        except BaseException:
            # The sending call was ended from outside. The outcomes of others must still be sent.
            ownership.owner().act(self._send_all)
            raise

    def _send_all(self, client: redis.Redis) -> None:
        while self._waiting:
            self._sending.acquire()
            self._send_and_release(client)

    def _send_and_release(self, client: redis.Redis) -> None:
        batch: list[Answer] = []
        size_bytes = 0
        try:
            while self._waiting and len(batch) < _AT_ONCE and size_bytes < _AT_ONCE_BYTES:
                batch.append(self._waiting.popleft())
                size_bytes += sum(
                    len(part) for entry in batch[-1].entries for part in entry.values()
                )
            if batch:
                send(client, batch)
        except BaseException:
            self._waiting.extendleft(reversed(batch))
            raise
        finally:
            self._sending.release()


outbox = Outbox()


def answer(
    reply_to: str,
    call_id: str,
    payload: bytes,
    printed: Sequence[tuple[str, str]] = (),
    *,
    delivery_tag: str = "",
) -> None:
    """Append a call's output and then its outcome to the client's reply stream.

    If the client is gone, nothing is sent. Retries while Redis is unavailable. With a delivery tag,
    the message is acknowledged in the same step as the answer. If the message is not this worker's
    any more, there is no answer.
    """
    entries = [_output(call_id, stream, text) for stream, text in printed]
    entries.append({"id": call_id, "outcome": payload})
    if not parse_tag(delivery_tag):
        _add(reply_to, entries)
    elif (owner := ownership.existing()) and owner.holds(delivery_tag):
        owner.leave_to_answer(delivery_tag)
        outbox.put(Answer(reply_to, delivery_tag, entries))
    else:
        # This is a pool's process, whose parent took the message. It sends one answer at a time.
        answered = Answer(reply_to, delivery_tag, entries)
        until_back(lambda: send(store(), [answered]), f"the answer of {call_id}")


def tell(reply_to: str, call_id: str, printed: Sequence[tuple[str, str]]) -> None:
    """Send the output of a running call."""
    _add(reply_to, [_output(call_id, stream, text) for stream, text in printed])


def announce(reply_to: str, call_id: str, payload: bytes) -> None:
    """Send news of a running call, such as its host and pid."""
    _add(reply_to, [{"id": call_id, "news": payload}])


def _output(call_id: str, stream: str, text: str) -> Entry:
    # A printed lone surrogate must not stop the answer.
    return {"id": call_id, stream: text.encode("utf-8", "replace")}


def _add(reply_to: str, entries: list[Entry]) -> None:
    def add() -> None:
        if len(entries) == 1:
            store().xadd(reply_to, entries[0], nomkstream=True)  # type: ignore[arg-type]
            return
        pipe = store().pipeline(transaction=False)
        for entry in entries:
            pipe.xadd(reply_to, entry, nomkstream=True)  # type: ignore[arg-type]
        pipe.execute()

    until_back(add, f"the answer of {entries[-1]['id']!s}")

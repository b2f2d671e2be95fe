"""Dead letters: messages that no worker runs again, each with the reason.

    dead             sorted set: id → when it died, in seconds
    dead:letters     hash: id → the letter, JSON
    dead:queues      hash: queue → number of its dead letters

A letter contains the unchanged message, so that the message can be requeued.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import redis
from kombu.log import get_logger

from shared.broker.connections import AWAY, Lua, foreseen, store
from shared.broker.keys import (
    DEAD,
    DEAD_LETTERS,
    DEAD_QUEUES,
    PUSHED,
    RESULT,
    is_queue,
    new_word,
)
from shared.broker.messages import HISTORY, parse, parse_tag, parts
from shared.errors import DaySixError

logger = get_logger(__name__)


# KEYS: an owner's taken messages, the index, the letters, the queues. ARGV: number, id, time,
# letter, queue, and 1 to remove the taken message. If two deliveries of a message die, the last
# letter stays. The removal comes last: an error at a key of the wrong type must not lose the
# message.
_BURY = Lua("""
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
    return 0
end
local before = redis.call('hget', KEYS[3], ARGV[2])
redis.call('zadd', KEYS[2], ARGV[3], ARGV[2])
redis.call('hset', KEYS[3], ARGV[2], ARGV[4])
if before then
    local is_json, letter = pcall(cjson.decode, before)
    if is_json and type(letter) == 'table' and type(letter['queue']) == 'string' then
        redis.pcall('hincrby', KEYS[4], letter['queue'], -1)
    end
end
redis.pcall('hincrby', KEYS[4], ARGV[5], 1)
if ARGV[6] == '1' then
    redis.call('hdel', KEYS[1], ARGV[1])
end
return 1
""")

# KEYS: the index, the letters, the queues, the list, the stored result, a mark of this attempt.
# After a lost reply, the mark shows that the script has run. ARGV: id, queue, message.
# The push comes first: it fails if the list has the wrong type, and then nothing has changed.
_RETRY = Lua("""
if redis.call('hexists', KEYS[2], ARGV[1]) == 0 then
    return redis.call('exists', KEYS[6])
end
redis.call('lpush', KEYS[4], ARGV[3])
redis.call('set', KEYS[6], 1, 'ex', 60)
redis.call('hdel', KEYS[2], ARGV[1])
redis.call('zrem', KEYS[1], ARGV[1])
redis.pcall('hincrby', KEYS[3], ARGV[2], -1)
redis.call('del', KEYS[5])
return 1
""")

# KEYS: the index, the letters, the queues. ARGV: id, queue (empty if unknown).
_DROP = Lua("""
local gone = redis.call('hdel', KEYS[2], ARGV[1]) + redis.call('zrem', KEYS[1], ARGV[1])
if gone > 0 and ARGV[2] ~= '' then
    redis.pcall('hincrby', KEYS[3], ARGV[2], -1)
end
return gone
""")


# Called with the message's `parts` and the reason, to tell the waiting caller.
on_burial: list[Callable[[dict[str, Any], str], None]] = []


class NotWhole(DaySixError):
    """Raised for a letter whose message cannot be put back."""

    def __init__(self, letter_id: str) -> None:
        super().__init__(
            f"the dead letter {letter_id!r} holds no message of a queue, to put back there; "
            "it can only be dropped"
        )


class NoSuchLetter(DaySixError):
    """Raised for an id that no dead letter has."""

    def __init__(self, letter_id: str) -> None:
        super().__init__(f"there is no dead letter {letter_id!r}; see: producer dead list")


def bury(
    client: redis.Redis,
    delivery_tag: str,
    reason: str,
    *,
    worker: str = "",
    traceback: str = "",
    text: bytes | None = None,
    tell: bool = True,
) -> bool:
    """Make a taken message a dead letter. Returns False if the message is gone.

    `text` replaces the taken message, for example with a longer history. With `tell`, the waiting
    caller gets an error.
    """
    found = parse_tag(delivery_tag)
    entry: Any = client.hget(*found) if found else None
    if found is None or entry is None:
        return False
    list_name, _, before = entry.partition(b"\n")
    return bury_entry(
        client,
        found,
        list_name,
        before if text is None else text,
        reason,
        worker=worker,
        traceback=traceback,
        tell=tell,
    )


def bury_entry(
    client: redis.Redis,
    found: tuple[str | bytes, str | bytes],
    list_name: bytes,
    text: bytes,
    reason: str,
    *,
    worker: str = "",
    traceback: str = "",
    tell: bool = True,
) -> bool:
    """Make a dead letter of a hash's entry (key, field). Returns False if the entry is gone.

    Raises redis-py's error if Redis is unavailable. A repeated call does the remaining steps.
    """
    message = parts(text)
    headers = message["headers"]
    # Without an id, derive one from key and field, so that a second call replaces the letter.
    place = b"#".join(part if isinstance(part, bytes) else part.encode() for part in found)
    letter_id = headers.get("id") or str(uuid.uuid5(uuid.NAMESPACE_OID, place.hex()))
    now = time.time()
    letter = {
        "id": letter_id,
        "task": headers.get("shadow") or headers.get("task"),
        "queue": list_name.decode(errors="replace").partition("\x06")[0],
        "list": base64.b64encode(list_name).decode(),
        "reason": reason,
        "died": round(now, 3),
        "worker": worker,
        "deliveries": headers.get(HISTORY) or [],
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "traceback": traceback,
        "message": base64.b64encode(text).decode(),
    }
    arguments: Any = (found[1], letter_id, now, json.dumps(letter), str(letter["queue"]))
    # A worker that is killed before the caller is told must find the message again.
    keys = (found[0], DEAD, DEAD_LETTERS, DEAD_QUEUES)
    if not _BURY.call(client, 4, *keys, *arguments, int(not tell)):
        return False
    logger.error("%s[%s] is a dead letter: %s", letter["task"], letter_id, reason)
    if tell:
        for callback in on_burial:
            try:
                callback(message, reason)
            except AWAY:
                raise  # a retry buries the message again, and tells its caller
            except Exception as error:
                # The parts of the message may be anything. The letter is stored in any case.
                logger.warning("no answer sent for the dead letter %s: %r", letter_id, error)
        client.hdel(*found)
    return True


def count() -> int:
    """Return the number of dead letters."""
    with foreseen():
        return int(store().zcard(DEAD))


def letters() -> Iterator[dict[str, Any]]:
    """Yield all dead letters, oldest first. An invalid letter gets default fields."""
    start = 0
    while True:
        with foreseen():
            ids: Any = store().zrange(DEAD, start, start + 99)
            found: Any = store().hmget(DEAD_LETTERS, ids) if ids else []
        yield from map(_letter, ids, found)
        if len(ids) < 100:
            return
        start += 100


def show(letter_id: str) -> dict[str, Any]:
    """Return one letter. Raises `NoSuchLetter`."""
    key = _key(letter_id)
    with foreseen():
        letter: Any = store().hget(DEAD_LETTERS, key)
        if letter is None and store().zscore(DEAD, key) is None:
            raise NoSuchLetter(letter_id)
    return _letter(key, letter)


def retry(letter_id: str) -> str:
    """Put a letter's message back on its queue without its history. Returns the queue's name."""
    letter = show(letter_id)
    try:
        text, list_name = (base64.b64decode(letter[part]) for part in ("message", "list"))
    except ValueError:
        text = list_name = b""
    if not text or not is_queue(list_name):
        raise NotWhole(letter_id)
    message = parse(text)
    if message is not None:
        message["headers"].pop(HISTORY, None)
        text = json.dumps(message).encode()
    key = _key(letter_id)
    mark = PUSHED + new_word()
    keys = (DEAD, DEAD_LETTERS, DEAD_QUEUES, list_name, RESULT.encode() + key, mark)
    with foreseen():
        if not _RETRY.call(store(), 6, *keys, key, letter["queue"].encode(*_ANY), text):
            raise NoSuchLetter(letter_id)
    return str(letter["queue"])


def drop(letter_id: str) -> None:
    """Delete a letter. Raises `NoSuchLetter`."""
    queue = show(letter_id)["queue"].encode(*_ANY)
    with foreseen():
        if not _DROP.call(store(), 3, DEAD, DEAD_LETTERS, DEAD_QUEUES, _key(letter_id), queue):
            raise NoSuchLetter(letter_id)


# Encodes a name that is not valid UTF-8.
_ANY = ("utf-8", "backslashreplace")
_LAST_TIME = 253_402_300_799  # the year 9999


def _key(letter_id: str) -> bytes:
    """Return an id as Redis stores it. `letters` shows bytes that are not UTF-8 as lone surrogates."""
    try:
        return letter_id.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return letter_id.encode("utf-8", "surrogatepass")


def _letter(key: bytes, text: bytes | None) -> dict[str, Any]:
    """Return a letter with all fields, each of the right type, for any value in Redis."""
    try:
        found = json.loads(text or b"")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        found = {"reason": "the dead letter cannot be read" if text else "the dead letter is gone"}
    losses = found.get("deliveries")
    return {
        "id": key.decode("utf-8", "surrogateescape"),
        **{name: _text(found.get(name)) for name in ("task", "args", "kwargs")},
        **{
            name: _text(found.get(name)) or ""
            for name in ("queue", "list", "reason", "worker", "traceback", "message")
        },
        "died": _time(found.get("died")),
        "deliveries": [
            {"worker": _text(loss.get("worker")), "at": _time(loss.get("at"))}
            for loss in (losses if isinstance(losses, list) else [])
            if isinstance(loss, dict)
        ],
    }


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _time(value: Any) -> float | None:
    is_time = type(value) in (int, float) and 0 <= value <= _LAST_TIME
    return value if is_time else None

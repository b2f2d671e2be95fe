"""Dead letters: messages that no worker will run again, kept with the reason.

    dead             sorted set: id → when it died, in seconds
    dead:letters     hash: id → the letter, JSON
    dead:queues      hash: queue → how many of its messages they hold

A letter holds the message as it was, so that it can be put back on its queue.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import redis
from kombu.log import get_logger

from shared.broker.connections import foreseen, store
from shared.broker.keys import DEAD, DEAD_LETTERS, DEAD_QUEUES, RESULT
from shared.broker.messages import HISTORY, parse, parse_tag
from shared.errors import DaySixError

logger = get_logger(__name__)


# KEYS: what an owner has taken, the index, the letters, the queues. ARGV: number, id, time,
# letter, queue. A message that dies twice, as two deliveries may, has one letter: the last.
_BURY = """
if redis.call('hdel', KEYS[1], ARGV[1]) == 0 then
    return 0
end
local before = redis.call('hget', KEYS[3], ARGV[2])
if before then
    redis.call('hincrby', KEYS[4], cjson.decode(before)['queue'], -1)
end
redis.call('zadd', KEYS[2], ARGV[3], ARGV[2])
redis.call('hset', KEYS[3], ARGV[2], ARGV[4])
redis.call('hincrby', KEYS[4], ARGV[5], 1)
return 1
"""

# KEYS: the index, the letters, the queues, the list, the stored result. ARGV: id, queue, message.
_RETRY = """
if redis.call('hdel', KEYS[2], ARGV[1]) == 0 then
    return 0
end
redis.call('zrem', KEYS[1], ARGV[1])
redis.call('hincrby', KEYS[3], ARGV[2], -1)
redis.call('del', KEYS[5])
redis.call('lpush', KEYS[4], ARGV[3])
return 1
"""

# KEYS: the index, the letters, the queues. ARGV: id, queue.
_DROP = """
if redis.call('hdel', KEYS[2], ARGV[1]) == 0 then
    return 0
end
redis.call('zrem', KEYS[1], ARGV[1])
redis.call('hincrby', KEYS[3], ARGV[2], -1)
return 1
"""


# Called with the message and the reason, to tell whoever waits for its outcome.
on_burial: list[Callable[[dict[str, Any], str], None]] = []


class NoSuchLetter(DaySixError):
    """Raised for an id under which there is no dead letter."""

    def __init__(self, letter_id: str) -> None:
        super().__init__(f"there is no dead letter {letter_id!r}; see: producer dead list")


def bury(
    client: redis.Redis,
    delivery_tag: str,
    reason: str,
    *,
    worker: str = "",
    traceback: str = "",
    message: dict[str, Any] | None = None,
    tell: bool = False,
) -> bool:
    """Make a taken message a dead letter; False if it is not there any more.

    `message` stands in for the one that was taken, to keep what was added to its history.
    `tell` has whoever waits for the outcome told.
    """
    found = parse_tag(delivery_tag)
    entry: Any = client.hget(*found) if found else None
    if found is None or entry is None:
        return False
    list_name, _, text = entry.partition(b"\n")
    message = message or parse(text)
    if message is not None:
        text = json.dumps(message).encode()
    headers = message["headers"] if message else {}
    letter_id = str(headers.get("id") or uuid.uuid4())
    now = time.time()
    letter = {
        "id": letter_id,
        "task": headers.get("shadow") or headers.get("task"),
        "queue": list_name.decode(errors="replace").partition("\x06")[0],
        "list": base64.b64encode(list_name).decode(),
        "reason": reason,
        "died": round(now, 3),
        "worker": worker,
        "deliveries": headers.get(HISTORY, []),
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "traceback": traceback,
        "message": base64.b64encode(text).decode(),
    }
    arguments = (found[1], letter_id, now, json.dumps(letter), str(letter["queue"]))
    if not client.eval(_BURY, 4, found[0], DEAD, DEAD_LETTERS, DEAD_QUEUES, *arguments):
        return False
    logger.error("%s[%s] is a dead letter: %s", letter["task"], letter_id, reason)
    if tell and message is not None:
        for callback in on_burial:
            try:
                callback(message, reason)
            except Exception:
                # Its parts may be anything. The letter is there, and must not be lost for it.
                logger.exception("nobody is told of the dead letter %s", letter_id)
    return True


def count() -> int:
    """How many there are."""
    with foreseen():
        return int(store().zcard(DEAD))


def letters() -> Iterator[dict[str, Any]]:
    """All of them, the oldest first; read in portions."""
    start = 0
    while True:
        with foreseen():
            ids: Any = store().zrange(DEAD, start, start + 99)
            found: Any = store().hmget(DEAD_LETTERS, ids) if ids else []
        yield from (json.loads(letter) for letter in found if letter is not None)
        if len(ids) < 100:
            return
        start += 100


def show(letter_id: str) -> dict[str, Any]:
    """One letter; raises `NoSuchLetter`."""
    with foreseen():
        letter: Any = store().hget(DEAD_LETTERS, letter_id)
    if letter is None:
        raise NoSuchLetter(letter_id)
    found: dict[str, Any] = json.loads(letter)
    return found


def retry(letter_id: str) -> str:
    """Put a letter's message back on its queue, its lost workers forgotten; the queue."""
    letter = show(letter_id)
    text = base64.b64decode(letter["message"])
    message = parse(text)
    if message is not None:
        message["headers"].pop(HISTORY, None)
        text = json.dumps(message).encode()
    keys = (DEAD, DEAD_LETTERS, DEAD_QUEUES, base64.b64decode(letter["list"]), RESULT + letter_id)
    with foreseen():
        if not store().eval(_RETRY, 5, *keys, letter_id, letter["queue"], text):
            raise NoSuchLetter(letter_id)
    return str(letter["queue"])


def drop(letter_id: str) -> None:
    """Forget a letter; raises `NoSuchLetter`."""
    queue = show(letter_id)["queue"]
    with foreseen():
        if not store().eval(_DROP, 3, DEAD, DEAD_LETTERS, DEAD_QUEUES, letter_id, queue):
            raise NoSuchLetter(letter_id)

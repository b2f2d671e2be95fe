"""Returns messages to their queues: messages not begun, and messages of a lost worker."""

import contextlib
import datetime
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import redis
from kombu.log import get_logger

from shared.broker.connections import Lua
from shared.broker.deadletters import bury_entry
from shared.broker.keys import BURIED, COUNTS, GROUP, LEASES_LOST, RESULT, TAKEN, is_queue
from shared.broker.messages import (
    LOST,
    SENT_AT,
    UNREADABLE,
    NotAMessage,
    count_lost,
    parse,
    parse_tag,
    parts,
    read,
)
from shared.settings import current

logger = get_logger(__name__)

# By so much the clocks of a sender and of a worker may differ.
_CLOCKS_DIFFER_S = 2.0

# A record may name any key as its list, also that of a lock, a handle or an answer. Only a queue
# may receive the message.
_NO_QUEUE = "the list that it came from is no queue"

# KEYS: an owner's taken hash, a list. ARGV: number, message. Moves the message to the front of the
# list. If the push fails, the script has removed nothing.
_RETURN = Lua("""
if redis.call('hexists', KEYS[1], ARGV[1]) == 1 then
    redis.call('rpush', KEYS[2], ARGV[2])
    return redis.call('hdel', KEYS[1], ARGV[1])
end
return 0
""")

# The same script, but to the end of the list.
_REQUEUE = Lua(_RETURN.text.replace("rpush", "lpush"))

# KEYS: an owner's taken hash, buried, the counts. ARGV: owner, the name of the count. Forgets a
# buried owner that has no messages left, and counts the loss.
_FORGET = Lua("""
if redis.call('exists', KEYS[1]) == 0 and redis.call('srem', KEYS[2], ARGV[1]) == 1 then
    redis.call('hincrby', KEYS[3], ARGV[2], 1)
end
""")

# Called with the `parts` of a message whose task has its outcome, before the message is forgotten.
# Each returns the reason for a dead letter if the task failed, otherwise an empty text.
on_outcome: list[Callable[[dict[str, Any]], str]] = []


def by_key(delivery_tags: Iterable[str]) -> dict[str, list[str]]:
    by_key: dict[str, list[str]] = {}
    for delivery_tag in delivery_tags:
        found = parse_tag(delivery_tag)
        if found:
            by_key.setdefault(found[0], []).append(found[1])
    return by_key


def give_back(client: redis.Redis, delivery_tags: Iterable[str]) -> None:
    """Return messages to the front of their lists without counting a failed delivery."""
    for key, numbers in by_key(delivery_tags).items():
        _give_back(client, key, [number.encode() for number in numbers])


def give_all_back(client: redis.Redis, owner: str) -> None:
    """Return all messages of an owner, uncounted, and acknowledge those that have an outcome.

    A pool process may have finished a task at the last moment without its worker knowing.
    """
    key = TAKEN + owner
    entries: Any = client.hgetall(key)
    waiting = []
    for number, entry in entries.items():
        list_name, _, text = entry.partition(b"\n")
        with contextlib.suppress(NotAMessage):
            if answered(client, read(text)["headers"]):
                _finish(client, (key, number), list_name, text)
                continue
        waiting.append(number)
    _give_back(client, key, waiting)


def _give_back(client: redis.Redis, key: str, numbers: list[bytes]) -> None:
    # Return the largest numbers first, so that the first message taken is the next to be taken.
    numbers.sort(key=_order, reverse=True)
    entries: Any = client.hmget(key, numbers) if numbers else []
    pipe = client.pipeline(transaction=False)
    given = []
    for number, entry in zip(numbers, entries, strict=True):
        if entry is not None:
            list_name, _, text = entry.partition(b"\n")
            if is_queue(list_name):
                _RETURN.add(pipe, 2, key, list_name, number, text)
                given.append((number, list_name, text))
            else:
                bury_entry(client, (key, number), list_name, text, _NO_QUEUE)
    for (number, list_name, text), answer in zip(given, pipe.execute(False), strict=True):
        if isinstance(answer, redis.RedisError):
            _bury_unless_away(client, (key, number), list_name, text, answer)


def _bury_unless_away(
    client: redis.Redis,
    found: tuple[str | bytes, str | bytes],
    list_name: bytes,
    text: bytes,
    error: redis.RedisError,
) -> None:
    """Bury a message that cannot be returned. Raises an error that is not about the data."""
    if not is_about_the_data(error):
        raise error
    bury_entry(client, found, list_name, text, f"it cannot go back to its queue: {error}")


def is_about_the_data(error: redis.RedisError) -> bool:
    """True if a retry cannot help, because a key holds a value of the wrong type."""
    return type(error) is redis.ResponseError and "WRONGTYPE" in str(error)


def _order(number: bytes) -> int:
    return int(number) if number.isdigit() and len(number) < 20 else -1


def return_delivered(client: redis.Redis, delivery_tag: str) -> None:
    """Return a delivered message to the front of its queue, marked as redelivered."""
    _put_back(client, delivery_tag, _RETURN)


def requeue_delivered(client: redis.Redis, delivery_tag: str) -> None:
    """Return a delivered message to the end of its queue, marked as redelivered."""
    _put_back(client, delivery_tag, _REQUEUE)


def _put_back(client: redis.Redis, delivery_tag: str, script: Lua) -> None:
    found = parse_tag(delivery_tag)
    entry: Any = client.hget(*found) if found else None
    if found is None or entry is None:
        return
    list_name, _, text = entry.partition(b"\n")
    message = parse(text)
    if message is not None:
        _mark_redelivered(message)
        text = json.dumps(message).encode()
    _eval_return(client, script, found, list_name, text)


def _eval_return(
    client: redis.Redis,
    script: Lua,
    found: tuple[str | bytes, str | bytes],
    list_name: bytes,
    text: bytes,
) -> bool:
    if not is_queue(list_name):
        bury_entry(client, found, list_name, text, _NO_QUEUE)
        return False
    try:
        return bool(script.call(client, 2, found[0], list_name, found[1], text))
    except redis.ResponseError as error:
        _bury_unless_away(client, found, list_name, text, error)
        return False


def _mark_redelivered(message: dict[str, Any]) -> None:
    """Set both of kombu's marks for a redelivery, because a Celery task may read either."""
    message["headers"]["redelivered"] = True
    info = message["properties"].get("delivery_info")
    if isinstance(info, dict):
        info["redelivered"] = True


def return_all(client: redis.Redis, owner: str | bytes) -> None:
    """Return the messages of a lost worker, and count the loss.

    A message that cannot be returned stays in the record and does not block the others.
    """
    owner = owner.encode() if isinstance(owner, str) else owner
    key = TAKEN.encode() + owner
    worker = owner.decode(errors="replace").rpartition(":")[0]
    returned = 0
    try:
        found: Any = client.hkeys(key)
    except redis.ResponseError as error:
        if not is_about_the_data(error):
            raise
        logger.error("%r holds no messages: %s", key, error)  # noqa: TRY400 - it says all
        client.srem(BURIED, owner)
        return
    for number in sorted(found, key=_order, reverse=True):
        with _alone(number):
            returned += _return(client, (key, number), worker)
    _FORGET.call(client, 3, key, BURIED, COUNTS, owner, LEASES_LOST)
    if returned:
        logger.warning("returned %d messages of %s, which is gone", returned, worker)


@contextlib.contextmanager
def _alone(number: Any) -> Iterator[None]:
    """Log an error that one message causes, so that the loop goes on.

    Raises if Redis is unavailable.
    """
    try:
        yield
    except redis.RedisError as error:
        if not is_about_the_data(error):
            raise
        logger.warning("message %r is not returned: %s", number, error)
    except Exception:
        logger.exception("message %r is not returned", number)


def return_message(client: redis.Redis, delivery_tag: str, lost_worker: str) -> bool:
    """Return a message unless it is gone, or its task has an outcome.

    A lost worker's name counts a failed delivery; past the limit the message becomes a dead letter.
    With "" nothing is counted.
    """
    found = parse_tag(delivery_tag)
    return found is not None and _return(client, found, lost_worker)


def _return(client: redis.Redis, found: tuple[str | bytes, str | bytes], lost_worker: str) -> bool:
    entry: Any = client.hget(*found)
    if entry is None:
        return False
    list_name, _, text = entry.partition(b"\n")
    try:
        read(text)
    except NotAMessage as error:
        bury_entry(client, found, list_name, text, str(error), worker=lost_worker)
        return False
    message: Any = parse(text)
    if answered(client, message["headers"]):
        _finish(client, found, list_name, text, worker=lost_worker)
        return False
    counts = lost_worker and not _waits_for_its_time(message)
    lost = len(count_lost(message, lost_worker)) if counts else 0
    if lost >= current().delivery_limit:
        text = json.dumps(message).encode()
        reason = f"{LOST} {lost} times"
        bury_entry(client, found, list_name, text, reason, worker=lost_worker)
        return False
    _mark_redelivered(message)
    return _eval_return(client, _RETURN, found, list_name, json.dumps(message).encode())


def _finish(
    client: redis.Redis,
    found: tuple[str | bytes, str | bytes],
    list_name: bytes,
    text: bytes,
    *,
    worker: str = "",
) -> None:
    """Forget a message whose task has its outcome, once what follows on that is done."""
    reason = ""
    for callback in on_outcome:
        try:
            reason = callback(parts(text))
        except redis.RedisError:
            raise  # it is tried again
        except Exception:
            logger.exception("what follows on the outcome of a task was not done")
    if reason:
        bury_entry(client, found, list_name, text, reason, worker=worker, tell=False)
    else:
        client.hdel(*found)


def return_unacked(channel: Any, client: redis.Redis, delivery_tag: str | bytes) -> bool:
    """Whether a message that a plain ``redis://`` worker left in ``unacked`` can be returned.

    A damaged message becomes a dead letter, so that it does not block the others.
    """
    hash_key, index_key = channel.unacked_key, channel.unacked_index_key
    entry: Any = client.hget(hash_key, delivery_tag)
    if entry is None:
        client.zrem(index_key, delivery_tag)
        return False
    list_name, text = b"", entry
    try:
        message, exchange, routing_key = json.loads(entry)
        list_name, text = str(routing_key).encode(errors="replace"), json.dumps(message).encode()
        if not (isinstance(exchange, str) and isinstance(routing_key, str)):
            raise NotAMessage(f"{UNREADABLE}: its queue has no name")
        if not is_queue(list_name):
            raise NotAMessage(_NO_QUEUE)
        message = read(text)
        message["properties"]["delivery_info"]["routing_key"].encode()
    except Exception as error:
        reason = str(error) if isinstance(error, NotAMessage) else f"{UNREADABLE}: {error!r:.100}"
        bury_entry(client, (hash_key, delivery_tag), list_name, text, reason)
        client.zrem(index_key, delivery_tag)
        return False
    return True


def _waits_for_its_time(message: dict[str, Any]) -> bool:
    """True if a task's countdown still runs, so that the task cannot have killed the worker."""
    with contextlib.suppress(TypeError, ValueError):
        eta = datetime.datetime.fromisoformat(message["headers"].get("eta"))
        return eta > datetime.datetime.now(datetime.UTC)
    return False


def answered(client: redis.Redis, headers: dict[str, Any]) -> bool:
    """Whether a task has ended for good: its outcome is stored, and its chord knows of it."""
    task_id = headers.get("id")
    stored: Any = client.get(RESULT + task_id) if task_id else None
    if not stored:
        return False
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        meta = json.loads(stored)
        if meta.get("status") in ("SUCCESS", "FAILURE", "REVOKED"):
            return not (_is_older(meta, headers) or _waited_for_by_a_chord(client, headers))
    return False


def _is_older(meta: dict[str, Any], headers: dict[str, Any]) -> bool:
    """Whether an outcome was stored before this message was sent: the id was used again."""
    with contextlib.suppress(TypeError, ValueError):
        ended = datetime.datetime.fromisoformat(meta.get("date_done") or "")
        if ended.tzinfo is None:
            ended = ended.replace(tzinfo=datetime.UTC)
        return bool(ended.timestamp() + _CLOCKS_DIFFER_S < headers.get(SENT_AT))  # type: ignore[operator]
    return False


def _waited_for_by_a_chord(client: redis.Redis, headers: dict[str, Any]) -> bool:
    """Whether a chord still waits for this part of its header.

    Celery stores a part's outcome and then counts the part. The last part also sends the chord's
    body. A worker that is killed in between leaves a chord that would wait for ever, so the part
    runs again: Celery counts each part once.
    """
    if not (group := headers.get("group")):
        return False
    key = GROUP + group
    size, difference, done = client.mget(f"{key}.s", f"{key}.t", f"{key}.c")
    if size is None or done == b"done":
        return False
    index = headers.get("group_index")
    part = f"{headers['id']}:{'+inf' if index is None else index}"
    counted = client.sismember(f"{key}.d", part)
    with contextlib.suppress(ValueError):
        ready: Any = client.scard(f"{key}.d")
        return not counted or ready >= int(size) + int(difference or 0)
    return not counted

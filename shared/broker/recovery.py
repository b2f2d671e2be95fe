"""How messages go back to their queues: unbegun ones, and those of a worker that was lost."""

import contextlib
import datetime
import json
from collections.abc import Iterable
from typing import Any

import redis
from kombu.log import get_logger

from shared.broker.deadletters import bury
from shared.broker.keys import BURIED, COUNTS, LEASES_LOST, RESULT, TAKEN
from shared.broker.messages import UNREADABLE, count_lost, parse, parse_tag
from shared.settings import current

logger = get_logger(__name__)

# KEYS: what an owner has taken, a list. ARGV: number, message. Back to the front of the list.
_RETURN = """
if redis.call('hdel', KEYS[1], ARGV[1]) == 1 then
    redis.call('rpush', KEYS[2], ARGV[2])
    return 1
end
return 0
"""

# The same, but to the end of the list.
_REQUEUE = _RETURN.replace("rpush", "lpush")

# KEYS: what an owner had taken, buried, the counts. ARGV: owner, what to count it as.
_FORGET = """
if redis.call('exists', KEYS[1]) == 0 and redis.call('srem', KEYS[2], ARGV[1]) == 1 then
    redis.call('hincrby', KEYS[3], ARGV[2], 1)
end
"""


def by_key(delivery_tags: Iterable[str]) -> dict[str, list[str]]:
    by_key: dict[str, list[str]] = {}
    for delivery_tag in delivery_tags:
        found = parse_tag(delivery_tag)
        if found:
            by_key.setdefault(found[0], []).append(found[1])
    return by_key


def give_back(client: redis.Redis, delivery_tags: Iterable[str]) -> None:
    for key, numbers in by_key(delivery_tags).items():
        # The largest numbers first: what was taken first is to be the next to be taken again.
        numbers.sort(key=int, reverse=True)
        pipe = client.pipeline(transaction=False)
        entries: Any = client.hmget(key, numbers)
        for number, entry in zip(numbers, entries, strict=True):
            if entry is not None:
                list_name, _, message = entry.partition(b"\n")
                pipe.eval(_RETURN, 2, key, list_name, number, message)
        pipe.execute()


def return_delivered(client: redis.Redis, delivery_tag: str) -> None:
    """Return a message that a consumer got to the front of its queue, marked as redelivered."""
    _put_back(client, delivery_tag, _RETURN)


def requeue_delivered(client: redis.Redis, delivery_tag: str) -> None:
    """Return a message that a consumer got to the end of its queue, marked as redelivered."""
    _put_back(client, delivery_tag, _REQUEUE)


def _put_back(client: redis.Redis, delivery_tag: str, script: str) -> None:
    found = parse_tag(delivery_tag)
    entry: Any = client.hget(*found) if found else None
    if found is None or entry is None:
        return
    list_name, _, text = entry.partition(b"\n")
    message = parse(text)
    if message is not None:
        _mark_redelivered(message)
        text = json.dumps(message).encode()
    client.eval(script, 2, found[0], list_name, found[1], text)


def _mark_redelivered(message: dict[str, Any]) -> None:
    """Say in both places where kombu says so: Celery's tasks find either."""
    message["headers"]["redelivered"] = True
    info = message["properties"].get("delivery_info")
    if isinstance(info, dict):
        info["redelivered"] = True


def return_all(client: redis.Redis, owner: str) -> None:
    """Return what a lost worker had taken, and count that it was lost."""
    key = TAKEN + owner
    returned = 0
    found: Any = client.hkeys(key)
    for number in sorted((field.decode() for field in found), key=int, reverse=True):
        returned += return_lost(client, f"{key}#{number}", owner.rpartition(":")[0])
    client.eval(_FORGET, 3, key, BURIED, COUNTS, owner, LEASES_LOST)
    if returned:
        logger.warning("returned %d messages of %s, which is gone", returned, owner)


def return_lost(client: redis.Redis, delivery_tag: str, worker: str) -> bool:
    """Return a message whose worker was lost, if it is still there and has no outcome yet.

    The loss is counted in the message; past the limit it becomes a dead letter.
    """
    return return_message(client, delivery_tag, worker)


def return_message(client: redis.Redis, delivery_tag: str, lost_worker: str) -> bool:
    found = parse_tag(delivery_tag)
    entry: Any = client.hget(*found) if found else None
    if found is None or entry is None:
        return False
    list_name, _, text = entry.partition(b"\n")
    message = parse(text)
    if message is None:
        bury(client, delivery_tag, UNREADABLE, worker=lost_worker)
        return False
    if _answered(client, message):
        client.hdel(*found)
        return False
    counts = lost_worker and not _waits_for_its_time(message)
    lost = len(count_lost(message, lost_worker)) if counts else 0
    if lost >= current().delivery_limit:
        reason = f"its worker was lost {lost} times"
        bury(client, delivery_tag, reason, worker=lost_worker, message=message, tell=True)
        return False
    _mark_redelivered(message)
    text = json.dumps(message).encode()
    return bool(client.eval(_RETURN, 2, found[0], list_name, found[1], text))


def _waits_for_its_time(message: dict[str, Any]) -> bool:
    """Whether a task has a countdown that still runs: it cannot have begun, nor done any harm."""
    with contextlib.suppress(TypeError, ValueError):
        eta = datetime.datetime.fromisoformat(message["headers"].get("eta"))
        return eta > datetime.datetime.now(datetime.UTC)
    return False


def _answered(client: redis.Redis, message: dict[str, Any]) -> bool:
    """Whether an ordinary task's outcome stands in the result backend already."""
    task_id = message["headers"].get("id")
    stored: Any = client.get(RESULT + task_id) if task_id else None
    if not stored:
        return False
    with contextlib.suppress(ValueError, AttributeError):
        return json.loads(stored).get("status") in ("SUCCESS", "FAILURE", "REVOKED")
    return False

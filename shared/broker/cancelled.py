"""The ids of cancelled tasks, in a list that outlives the workers.

    withdrawn           sorted set: id → time of the cancellation, in seconds by Redis' clock

Celery broadcasts a cancellation to the living workers, and each keeps it in memory. A worker that
starts later, or that was disconnected at that moment, reads this list.
"""

from collections.abc import Sequence
from typing import Any

import redis

from shared.broker.connections import Lua
from shared.broker.keys import WITHDRAWN
from shared.settings import current

# KEYS: the list. ARGV: id, the seconds to keep it. Removes older entries.
_ADD = Lua("""
local now = tonumber(redis.call('time')[1])
redis.call('zadd', KEYS[1], now, ARGV[1])
redis.call('zremrangebyscore', KEYS[1], '-inf', now - ARGV[2])
redis.call('expire', KEYS[1], ARGV[2])
""")


def add(client: redis.Redis, task_id: str) -> None:
    """Record that a task was cancelled, for as long as results are kept."""
    _ADD.call(client, 1, WITHDRAWN, task_id, current().result_expires_s)


def ids(client: redis.Redis) -> Sequence[str]:
    """Return the ids of the cancelled tasks."""
    found: Any = client.zrange(WITHDRAWN, 0, -1)
    return [task_id.decode(errors="replace") for task_id in found]

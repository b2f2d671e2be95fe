"""Which tasks were cancelled: a list that outlives workers, beside Celery's broadcast.

    withdrawn           sorted set: id → when, in seconds by Redis' clock

Celery tells the workers that are alive; each keeps what it was told in its memory. A worker
that starts later, or that was cut off meanwhile, reads the list.
"""

from collections.abc import Sequence
from typing import Any

import redis

from shared.broker.connections import Lua
from shared.broker.keys import WITHDRAWN
from shared.settings import current

# KEYS: the list. ARGV: id, how many seconds it is kept. What is older goes.
_ADD = Lua("""
local now = tonumber(redis.call('time')[1])
redis.call('zadd', KEYS[1], now, ARGV[1])
redis.call('zremrangebyscore', KEYS[1], '-inf', now - ARGV[2])
redis.call('expire', KEYS[1], ARGV[2])
""")


def add(client: redis.Redis, task_id: str) -> None:
    """Keep in mind that a task was cancelled, as long as results are kept."""
    _ADD.call(client, 1, WITHDRAWN, task_id, current().result_expires_s)


def ids(client: redis.Redis) -> Sequence[str]:
    """The tasks that were cancelled."""
    found: Any = client.zrange(WITHDRAWN, 0, -1)
    return [task_id.decode(errors="replace") for task_id in found]

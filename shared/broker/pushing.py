"""Pushes one message so that a push repeated after a lost reply queues the message once."""

import threading
from typing import Any

from shared.broker.connections import Lua
from shared.broker.keys import PUSHED, new_word
from shared.broker.per_process import PerProcess

# The mark of a push lives this long. By then all retries, redis-py's and the pools', have ended.
REPEATED_WITHIN_S = 60

# KEYS: the queue's list, the id of this thread's last push to that list. ARGV: the id of this push,
# the message, the second key's lifetime in seconds.
PUSH_ONE = Lua("""
if redis.call('get', KEYS[2]) ~= ARGV[1] then
    redis.call('lpush', KEYS[1], ARGV[2])
    redis.call('set', KEYS[2], ARGV[1], 'ex', ARGV[3])
end
""")


class _Last(threading.local):
    """The last message that this thread, or greenlet, published through kombu."""

    def __init__(self) -> None:
        self.thread = new_word()
        self.properties: Any = None
        self.push = ""


_last = PerProcess(_Last)


def parameters(key: str, properties: Any, message: str) -> tuple[Any, ...]:
    """The parameters of `PUSH_ONE`. A retry of kombu's brings the same `properties` object."""
    last = _last()
    if last.properties is not properties:
        last.properties, last.push = properties, new_word()
    mark = f"{PUSHED}{last.thread}@{key}"
    return 2, key, mark, last.push, message, REPEATED_WITHIN_S

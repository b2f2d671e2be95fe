"""One push, which counts once however often it is repeated after a lost answer."""

import threading
from typing import Any

from shared.broker.connections import Lua
from shared.broker.keys import PUSHED, new_word
from shared.broker.per_process import PerProcess

# Nobody repeats a push later than this: redis-py's and the pools' own attempts have ended.
REPEATED_WITHIN_S = 60

# KEYS: the queue's list, what this thread has pushed there last. ARGV: which push this is, the
# message, how many seconds the second key stays.
PUSH_ONE = Lua("""
if redis.call('set', KEYS[2], ARGV[1], 'ex', ARGV[3], 'get') ~= ARGV[1] then
    redis.call('lpush', KEYS[1], ARGV[2])
end
""")


class _Last(threading.local):
    """What this thread, or greenlet, publishes by kombu's way."""

    def __init__(self) -> None:
        self.thread = new_word()
        self.properties: Any = None
        self.push = ""


_last = PerProcess(_Last)


def parameters(key: str, properties: Any, message: str) -> tuple[Any, ...]:
    """What `PUSH_ONE` takes. kombu's further attempts bring the same `properties` object."""
    last = _last()
    if last.properties is not properties:
        last.properties, last.push = properties, new_word()
    mark = f"{PUSHED}{last.thread}@{key}"
    return 2, key, mark, last.push, message, REPEATED_WITHIN_S

"""Scripts that take effect exactly once, and bells that wake a waiting process.

A script's answer may be lost on its way back, and redis-py then sends the script again. So the
script itself records the caller's last request and its answer:

    caller                       Redis
    request 7: append x ───────► appended; record of this caller = (7, answer)
                   ✗ ◄────────── the connection breaks, the answer is lost
    request 7 again ───────────► the record says 7: the same answer, nothing appended
"""

import itertools
import math
import threading
import time
from functools import lru_cache
from multiprocessing.connection import wait as wait_locally
from typing import Any

import redis

from shared.broker.connections import AWAY, SHORTEST_PAUSE_S, Lua, connect, foreseen, store
from shared.broker.keys import new_word
from shared.broker.per_process import PerProcess
from shared.errors import HandleLost
from shared.settings import Settings, current

# How long a caller's last answer is kept. All retries end sooner.
_ANSWER_KEPT_MS = 60_000
# How long one blocking command may last. After it a waiter checks again. So a bell that was lost
# with its connection, or rung for a killed waiter, delays the others by at most this time.
LOOK_AGAIN_S = 1.0
# How long a bell (a list with one entry) is kept if its waiter does not read it.
_BELL_MS = 60_000

# KEYS: the handle's name, the caller's record. ARGV: the request's number ('' for a script that
# only reads, which is not recorded), the lease in ms, the script's own arguments.
_FRAME = """
local name, lease = KEYS[1], ARGV[2]
local arg = {}
for i = 3, #ARGV do arg[i - 2] = ARGV[i] end

local function now()
  local time = redis.call('time')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function keep(...)  -- the lease, anew, for these keys of the handle
  for _, suffix in ipairs({...}) do redis.call('pexpire', name .. suffix, lease) end
end

local function ring(ticket, with)
  redis.call('rpush', 'bell:' .. ticket, with)
  redis.call('pexpire', 'bell:' .. ticket, %(bell_ms)d)
end

local function refer(item, by)  -- count the handles that an item holds: + when it comes in
  if string.byte(item, 1) == 0 then return end
  for other in string.gmatch(string.match(item, '^\\1([^%%z]*)%%z'), '[^,]+') do
    if redis.call('hincrby', name .. ':refs', other, by) <= 0 then
      redis.call('hdel', name .. ':refs', other)
    end
  end
end

local function run()
%(body)s
end

if ARGV[1] == '' then return run() end
if redis.call('hget', KEYS[2], 'request') == ARGV[1] then
  return cmsgpack.unpack(redis.call('hget', KEYS[2], 'answer'))
end
local answer = run()
redis.call('hset', KEYS[2], 'request', ARGV[1], 'answer', cmsgpack.pack(answer))
redis.call('pexpire', KEYS[2], %(kept_ms)d)
return answer
"""


class Script:
    """A Lua script on one handle's keys. Its text may use the functions of `_FRAME`."""

    def __init__(self, body: str, *, reads: bool = False) -> None:
        """Set `reads` for a script that changes nothing: it may run again without a record."""
        self._lua = Lua(_FRAME % {"body": body, "kept_ms": _ANSWER_KEPT_MS, "bell_ms": _BELL_MS})
        self._reads = reads

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Run the script on a handle and return its answer.

        Raises `BrokerUnavailable` if Redis does not answer, and `HandleLost` if the handle's data
        has expired.
        """
        lease_s = current().handle_lease_s
        request = "" if self._reads else f"{next(_requests)}"
        parameters = [name, f"caller:{me()}", request, int(lease_s * 1000), *arguments]
        with foreseen():
            try:
                return self._lua.call(store(), 2, *parameters)
            except redis.ResponseError as error:
                if str(error).startswith("GONE"):
                    raise HandleLost(name, lease_s) from None
                raise

    def read_command(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """The Redis command that runs a reading script once."""
        lease_ms = int(current().handle_lease_s * 1000)
        return ("EVAL", self._lua.text, 2, name, "caller:", "", lease_ms, *arguments)


def me() -> str:
    """A word that identifies this thread or greenlet; no other thread ever has the same."""
    return _identity().word


def ticket() -> str:
    """A new name for one wait of this thread. Its bell wakes no other wait."""
    return f"{me()}.{next(_requests)}"


def hear(the_ticket: str, deadline: float | None) -> bytes | None:
    """Wait for a ticket's bell, and return the value with which it was rung.

    Returns None when the caller should check again: at the deadline (of `time.monotonic`), after
    `LOOK_AGAIN_S`, or after a lost connection, with which the bell may be lost.
    """
    answer = block(["BLPOP", f"bell:{the_ticket}"], deadline)
    return None if answer is None else bytes(answer[1])


def block(command: list[str], deadline: float | None, *, look_again_s: float = LOOK_AGAIN_S) -> Any:
    """Run a blocking command. Returns its answer, or None as `hear` does."""
    left = look_again_s if deadline is None else min(deadline - time.monotonic(), look_again_s)
    if left <= 0:
        return None
    # Round up to milliseconds, Redis' unit: a wait must not be too short, and 0 means "for ever".
    left = math.ceil(left * 1000) / 1000
    pool = _patient(current()).connection_pool
    try:
        connection = pool.get_connection()
        try:
            connection.send_command(*command, left)
            return connection.read_response(timeout=left + current().redis_timeout_s)
        except BaseException:
            # Also after KeyboardInterrupt: the answer is still to come, and the connection's next
            # user must not read it.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
    except AWAY:
        # The caller checks again through `store`, which raises if Redis stays unavailable.
        time.sleep(min(left, SHORTEST_PAUSE_S))
        return None


def hear_beside(the_ticket: str, deadline: float | None, others: list[Any]) -> None:
    """Wait as `hear` does, and also return when one of the other objects is readable."""
    left = LOOK_AGAIN_S if deadline is None else min(deadline - time.monotonic(), LOOK_AGAIN_S)
    pool = _patient(current()).connection_pool
    with foreseen():
        connection = pool.get_connection()
        try:
            socket: Any = connection._sock  # noqa: SLF001 - redis-py names it nowhere else
            connection.send_command("BLPOP", f"bell:{the_ticket}", max(left, 0.001))
            wait_locally([socket, *others], max(left, 0))
        finally:
            # Drop the connection with its pending answer. The caller checks again anyway.
            connection.disconnect()
            pool.release(connection)


@lru_cache(maxsize=1)
def _patient(settings: Settings) -> redis.Redis:
    """The client for blocking commands, with one connection for each waiter."""
    client = connect(settings)
    client.connection_pool.max_connections = 2**31
    return client


class _Identity(threading.local):
    """One word for each thread, or for each greenlet under gevent's patch."""

    def __init__(self, process: str) -> None:
        self.word = f"{process}.{next(_requests)}"


_requests = itertools.count(1)
_identity = PerProcess(lambda: _Identity(new_word()[:16]))

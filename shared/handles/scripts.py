"""One atomic step on Redis, done exactly once, and the bell that ends a wait for one.

A script's answer may be lost on the way back; redis-py then sends the script again. Every
caller therefore has a record of its last request and answer, written by the same script:

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

# How long a caller's last answer is kept: longer than all attempts to send it again.
_ANSWER_KEPT_MS = 60_000
# How long one blocking command may last. Whoever waits looks again after it, so that a bell
# that was lost with its connection, or rung for a waiter that was killed, delays nobody longer.
LOOK_AGAIN_S = 1.0
# How long a bell that nobody hears keeps ringing.
_BELL_MS = 60_000

# KEYS: the handle's name, the caller's record. ARGV: request ('' = a read, not recorded), the
# lease in ms, the script's own arguments.
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
    """A Lua script on one handle's keys; see `_FRAME` for what it finds around it."""

    def __init__(self, body: str, *, reads: bool = False) -> None:
        """`reads`: it changes nothing, so it needs no record and may simply run again."""
        self._lua = Lua(_FRAME % {"body": body, "kept_ms": _ANSWER_KEPT_MS, "bell_ms": _BELL_MS})
        self._reads = reads

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Run it; `BrokerUnavailable` when Redis is away, `HandleLost` when the data is."""
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
        """The command that runs it once, for a script that only reads."""
        lease_ms = int(current().handle_lease_s * 1000)
        return ("EVAL", self._lua.text, 2, name, "caller:", "", lease_ms, *arguments)


def me() -> str:
    """This thread of this process (or greenlet), in one word that no other ever has."""
    return _identity().word


def ticket() -> str:
    """A name for one wait of this thread; its bell rings for no other."""
    return f"{me()}.{next(_requests)}"


def hear(the_ticket: str, deadline: float | None) -> bytes | None:
    """Wait for a ticket's bell: what it was rung with, or None when it is time to look again.

    That is at the deadline (of `time.monotonic`), after `LOOK_AGAIN_S`, or when the connection
    was lost and the bell may have been lost with it.
    """
    answer = block(["BLPOP", f"bell:{the_ticket}"], deadline)
    return None if answer is None else bytes(answer[1])


def block(command: list[str], deadline: float | None, *, look_again_s: float = LOOK_AGAIN_S) -> Any:
    """The answer of a blocking command, or None; see `hear`."""
    left = look_again_s if deadline is None else min(deadline - time.monotonic(), look_again_s)
    if left <= 0:
        return None
    # Redis takes 0 for "for ever", and counts in milliseconds: round up, so that a wait is
    # never shorter than asked for.
    left = math.ceil(left * 1000) / 1000
    pool = _patient(current()).connection_pool
    try:
        connection = pool.get_connection()
        try:
            connection.send_command(*command, left)
            return connection.read_response(timeout=left + current().redis_timeout_s)
        except BaseException:
            # KeyboardInterrupt too: the answer is still to come, nobody else may read it.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
    except AWAY:
        # The next look goes through `store`, which says so when Redis stays away.
        time.sleep(min(left, SHORTEST_PAUSE_S))
        return None


def hear_beside(the_ticket: str, deadline: float | None, others: list[Any]) -> None:
    """`hear`, and come back early too when one of the others is ready, as `select` means it."""
    left = LOOK_AGAIN_S if deadline is None else min(deadline - time.monotonic(), LOOK_AGAIN_S)
    pool = _patient(current()).connection_pool
    with foreseen():
        connection = pool.get_connection()
        try:
            socket: Any = connection._sock  # noqa: SLF001 - redis-py names it nowhere else
            connection.send_command("BLPOP", f"bell:{the_ticket}", max(left, 0.001))
            wait_locally([socket, *others], max(left, 0))
        finally:
            # Its answer may be on the way: whoever waits looks again, so it may be lost.
            connection.disconnect()
            pool.release(connection)


@lru_cache(maxsize=1)
def _patient(settings: Settings) -> redis.Redis:
    """The client for waiting: as many connections as there are waiters."""
    client = connect(settings)
    client.connection_pool.max_connections = 2**31
    return client


class _Identity(threading.local):
    """One word a thread; under gevent's patch, one a greenlet."""

    def __init__(self, process: str) -> None:
        self.word = f"{process}.{next(_requests)}"


_requests = itertools.count(1)
_identity = PerProcess(lambda: _Identity(new_word()[:16]))

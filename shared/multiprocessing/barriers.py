"""``multiprocessing.Barrier``: a number of processes, on any machine, wait for each other.

    generation 1: a arrives, b arrives, c (the last) arrives
                  c runs the action, if there is one, then rings a and b
    generation 2: the next processes to arrive, even while a and b have not yet woken

A killed waiter loses its seat after three seconds. The barrier then waits for another process in
its place.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from shared.errors import DaySixError
from shared.handles.base import Handle
from shared.handles.leases import Hold, keeper
from shared.handles.scripts import Script, hear, ticket
from shared.settings import current

__all__ = ["Barrier"]

_SEAT_MS = 3_000
# How long the waiters of a full generation may take to wake up.
_LEAVING_MS = 60_000

_COMMON = (
    f"local SEAT_MS, LEAVING_MS = {_SEAT_MS}, {_LEAVING_MS}"
    """
  local function tell(key, what)  -- ring everybody on a list; their index, or 'broken'
    for index, ticket in ipairs(redis.call('lrange', key, 0, -1)) do
      ring(ticket, what or index - 1)
    end
  end
  local function leaving(generation) return name .. ':gone:' .. generation end
  local generation = tonumber(redis.call('hget', name, 'generation') or 0)
  local function break_it(stays, acting)  -- acting: a full generation whose action runs, or ''
    tell(name .. ':line', 'broken')
    redis.call('del', name .. ':line')
    if acting ~= '' then tell(leaving(acting), 'broken') end
    redis.call('hset', name, 'generation', generation + 1, 'reset', generation)
    if stays then redis.call('hset', name, 'broken', 1) else redis.call('hdel', name, 'broken') end
    keep('')
  end
"""
)

# arg: ticket, parties, '1' if there is an action, the lease of a hold in ms.
# {'wait'}; {'pass', index}; {'act', index, generation}; {'broken'}.
_ARRIVE = Script(
    _COMMON
    + """
  local ticket, parties, acts = arg[1], tonumber(arg[2]), arg[3] == '1'
  if redis.call('hget', name, 'broken') then return {'broken'} end
  local seats = redis.call('lrange', name .. ':line', 0, -1)
  for _, other in ipairs(seats) do
    if redis.call('exists', 'seat:' .. other) == 0 then
      redis.call('lrem', name .. ':line', 1, other)
    end
  end
  if not redis.call('lpos', name .. ':line', ticket) then
    redis.call('rpush', name .. ':line', ticket)
  end
  redis.call('set', 'seat:' .. ticket, 1, 'px', SEAT_MS)
  keep('', ':line', ':claims')
  if redis.call('llen', name .. ':line') < parties then return {'wait', generation} end
  redis.call('hset', name, 'generation', generation + 1)
  redis.call('rename', name .. ':line', leaving(generation))
  redis.call('pexpire', leaving(generation), LEAVING_MS)
  redis.call('del', leaving(generation - 10))
  local index = redis.call('lpos', leaving(generation), ticket)
  if acts then
    redis.call('pexpire', leaving(generation), lease)
    redis.call('zadd', name .. ':claims', now() + arg[4], ticket)
    return {'act', index, generation}
  end
  tell(leaving(generation))
  return {'pass', index}
"""
)

# arg: ticket, the generation it waits in, '1' if its time is over. Returns {'wait'},
# {'pass', index}, {'broken'}, or {'again'} if the waiter has lost its seat and must arrive again.
_LOOK_AGAIN = Script(
    _COMMON
    + """
  local ticket, mine, late = arg[1], tonumber(arg[2]), arg[3] == '1'
  if redis.call('lpos', name .. ':line', ticket) then
    if late then
      break_it(true, '')
      return {'broken'}
    end
    redis.call('set', 'seat:' .. ticket, 1, 'px', SEAT_MS)
    keep('', ':line')
    return {'wait'}
  end
  local index = redis.call('lpos', leaving(mine), ticket)
  if redis.call('hget', name, 'broken') then return {'broken'} end
  if not index then return {redis.call('hget', name, 'reset') == arg[2] and 'broken' or 'again'} end
  local actor = redis.call('lindex', leaving(mine), -1)
  local acting = redis.call('zscore', name .. ':claims', actor)
  if not acting then return {'pass', index} end
  if tonumber(acting) > now() and not late then
    redis.call('pexpire', leaving(mine), lease)
    return {'wait'}
  end
  break_it(true, arg[2])  -- too late, or the one that ran the action was killed
  return {'broken'}
"""
)

# arg: ticket, generation. Lets all waiters pass after the action.
_PASS = Script(
    _COMMON
    + """
  redis.call('zrem', name .. ':claims', arg[1])
  if redis.call('hget', name, 'broken') then return 0 end
  tell(leaving(arg[2]))
  redis.call('pexpire', leaving(arg[2]), LEAVING_MS)
  return 1
"""
)

# arg: '1' to stay broken, '0' to be usable again; a generation whose action failed, or ''.
_BREAK = Script(_COMMON + "break_it(arg[1] == '1', arg[2])\nreturn 1")

# arg: ticket. Removes one waiter; the others go on waiting.
_LEAVE = Script("return redis.call('lrem', name .. ':line', 1, arg[1])")

_STATE = Script(
    "return {redis.call('llen', name .. ':line'), redis.call('hexists', name, 'broken')}",
    reads=True,
)


class Barrier(Handle, threading.Barrier):
    """``multiprocessing.Barrier`` for `parties` processes or threads.

    The last one to arrive runs `action`, in its own thread. All waiters get
    ``threading.BrokenBarrierError`` if one of them waits longer than `timeout` seconds, if the
    barrier is aborted or reset, or if the action fails. Raises ValueError for `parties` below 1.
    """

    _kind = "barrier"

    def __init__(
        self, parties: int, action: Callable[[], Any] | None = None, timeout: float | None = None
    ) -> None:
        if parties < 1:
            raise ValueError("parties must be > 0")
        self._open(None, parties, action, timeout)

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        self._parties, self._action, self._timeout = parameters
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [self._parties, self._action, self._timeout]

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others. Returns a number from 0 to parties - 1, different for each waiter.

        `timeout` in seconds; None takes the barrier's own, which is to wait for ever by default.
        After the timeout, or at once for 0 or less, the barrier breaks. Raises
        ``threading.BrokenBarrierError``, or the exception of the action in the process that ran it.
        """
        timeout = self._timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        the_ticket = ticket()
        try:
            outcome, number = self._arrive(the_ticket)
            while outcome == b"wait":
                heard = hear(the_ticket, deadline)
                if heard is not None:
                    outcome, number = (heard, 0) if heard == b"broken" else (b"pass", heard)
                    break
                late = deadline is not None and time.monotonic() >= deadline
                found = _LOOK_AGAIN(self._name, the_ticket, number, "1" if late else "0")
                if found[0] == b"again":
                    outcome, number = self._arrive(the_ticket)
                elif found[0] != b"wait":
                    outcome, number = found[0], found[-1]
        except BaseException:
            with suppress(DaySixError):
                _LEAVE(self._name, the_ticket)
            raise
        if outcome == b"broken":
            raise threading.BrokenBarrierError
        return int(number)

    def _arrive(self, the_ticket: str) -> tuple[bytes, Any]:
        hold_ms = int(current().lock_lease_s * 1000)
        found = _ARRIVE(
            self._name, the_ticket, self._parties, "1" if self._action else "0", hold_ms
        )
        if found[0] != b"act":
            return found[0], found[1] if len(found) > 1 else 0
        index, generation = found[1:]
        # The others wait while this process runs the action. The hold shows that it is alive.
        hold = Hold(self._name, the_ticket)
        keeper.keep(hold)
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            _BREAK(self._name, "1", generation)
            raise
        finally:
            keeper.drop(hold)
        return (b"pass" if _PASS(self._name, the_ticket, generation) else b"broken"), index

    def reset(self) -> None:
        """Make the barrier usable again. Present waiters get ``threading.BrokenBarrierError``."""
        _BREAK(self._name, "0", "")

    def abort(self) -> None:
        """Break the barrier: all waiters until a `reset` get ``threading.BrokenBarrierError``."""
        _BREAK(self._name, "1", "")

    @property
    def parties(self) -> int:
        """The number of waiters that are needed to pass."""
        return int(self._parties)

    @property
    def n_waiting(self) -> int:
        """The number of threads and processes that wait now."""
        return int(_STATE(self._name)[0])

    @property
    def broken(self) -> bool:
        """True if the barrier is broken."""
        return bool(_STATE(self._name)[1])

    def __repr__(self) -> str:
        status = "broken" if self.broken else f"waiters={self.n_waiting}/{self._parties}"
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {status}>"

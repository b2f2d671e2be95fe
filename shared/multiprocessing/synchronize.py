"""``multiprocessing.synchronize``: locks, semaphores, events and conditions on any machine.

Whoever waits stands in a line (`shared.multiprocessing.lines`): first come, first served, woken
at once, nothing polls.

Differences from the standard library: a lock is held on a lease. While its holder's process
lives it is renewed; `LOCK_LEASE_S` after a holder was killed the lock is free again, and a holder
that was paused for longer is told at `release` with `LockLost`. `fencing_number` grows with every
acquisition: whatever the lock protects can refuse a number lower than one it has seen.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import process
from types import TracebackType
from typing import Any, Literal

from shared.errors import DaySixError, LockLost
from shared.handles import Handle
from shared.leases import Hold, keeper
from shared.multiprocessing import lines
from shared.scripts import Script, hear, me, ticket
from shared.settings import current

__all__ = ["BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

SEM_VALUE_MAX = 2**31 - 1


class _Permits(Handle):
    """A counter with a line: what semaphores and locks share."""

    _initial = 1

    def _acquire(self, block: bool, timeout: float | None, lease_s: float = 0) -> tuple[int, str]:
        """The number of this acquisition (0: none in time), and its ticket."""
        the_ticket = ticket()
        deadline = None if timeout is None else time.monotonic() + timeout
        waits = block and (timeout is None or timeout > 0)

        def look(otherwise: str) -> int:
            hold_ms = int(lease_s * 1000)
            return int(lines.ACQUIRE(self._name, the_ticket, self._initial, hold_ms, otherwise))

        number = look("wait" if waits else "leave")
        try:
            while not number and waits:
                hear(the_ticket, deadline)
                waits = deadline is None or time.monotonic() < deadline
                number = look("wait" if waits else "leave")
        except BaseException:
            # Interrupted: what was handed to this waiter meanwhile goes to the next one.
            with suppress(DaySixError):
                lines.ABANDON(self._name, the_ticket, self._initial)
            raise
        return number, the_ticket

    def _free(self) -> int:
        return int(lines.FREE(self._name, self._initial))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take one; waits, `timeout` seconds at most (a negative one counts as 0)."""
        raise NotImplementedError

    def release(self) -> None:
        """Give one back."""
        raise NotImplementedError


class Semaphore(_Permits):
    """``multiprocessing.Semaphore``: a counter that never goes below zero.

    Without a lease: a semaphore is also a signal, released by whoever has something to tell,
    so what a killed process had acquired stays acquired.
    """

    _kind = "semaphore"
    _highest = 0

    def __init__(self, value: int = 1) -> None:
        if not 0 <= value <= SEM_VALUE_MAX:
            raise ValueError("semaphore initial value must be >= 0 and fit in an int")
        self._open(None, value)

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        (self._initial,) = parameters
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [self._initial]

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Count down by one; waits while it is zero. False when `timeout` seconds were over."""
        number, _ = self._acquire(block, timeout)
        return number > 0

    def release(self) -> None:
        """Count up by one; the first in line is woken."""
        if not lines.RELEASE(self._name, self._initial, self._highest, 1):
            raise ValueError("semaphore or lock released too many times")

    def get_value(self) -> int:
        """How many may be acquired at this moment."""
        return self._free()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={_or_unknown(self.get_value)})>"


class BoundedSemaphore(Semaphore):
    """``multiprocessing.BoundedSemaphore``: ValueError when released more than acquired."""

    _kind = "boundedsemaphore"

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        super()._open(name, *parameters)
        self._highest = max(1, self._initial)

    def __repr__(self) -> str:
        value = _or_unknown(self.get_value)
        return f"<{type(self).__name__}(value={value}, maxvalue={self._initial})>"


@dataclass(eq=False)
class _Held(Hold):
    """A lock that this process holds."""

    number: int = 0
    owner: str = ""
    count: int = 1


# By the lock's name: every handle of one lock in this process sees the same.
_held: dict[str, _Held] = {}
os.register_at_fork(after_in_child=_held.clear)  # the parent's locks are not the child's


class Lock(_Permits):
    """``multiprocessing.Lock``: one at a time, on any machine.

    As in the standard library, anybody may release it, ValueError when it is free. `LockLost`
    at `release` when the hold ran out: see the module's docstring.
    """

    _kind = "lock"

    def __init__(self) -> None:
        self._open(None)

    @property
    def fencing_number(self) -> int | None:
        """The number of this process's present hold, higher than all before; None without one."""
        held = _held.get(self._name)
        return None if held is None else held.number

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Wait for the lock, `timeout` seconds at most; whether it was got."""
        number, the_ticket = self._acquire(block, timeout, current().lock_lease_s)
        if not number:
            return False
        held = _Held(self._name, the_ticket, number=number, owner=me())
        before, _held[self._name] = _held.get(self._name), held
        if before is not None:
            keeper.drop(before)  # somebody else released that one
        keeper.keep(held)
        return True

    def release(self) -> None:
        """Hand it to the first in line."""
        held = _held.pop(self._name, None)
        if held is not None:
            keeper.drop(held)
        released = lines.RELEASE_HOLD(self._name, held.ticket if held else "")
        if released == 0:
            raise ValueError("semaphore or lock released too many times")
        if released == -1:
            raise LockLost(self._name, current().lock_lease_s)

    def _is_mine(self) -> bool:
        held = _held.get(self._name)
        return held is not None and held.owner == me()

    def _count(self) -> int:
        held = _held.get(self._name)
        return 0 if held is None else held.count

    def _release_all(self) -> int:
        """Release it however often it was acquired; what `_acquire_again` takes."""
        self.release()
        return 1

    def _acquire_again(self, count: int) -> None:
        self.acquire()

    def _owner(self) -> str:
        if self._is_mine():
            name = process.current_process().name
            if threading.current_thread().name != "MainThread":
                name += "|" + threading.current_thread().name
            return name
        if self._free() == 1:
            return "None"
        return "SomeOtherThread" if self._name in _held else "SomeOtherProcess"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_or_unknown(self._owner)})>"


class RLock(Lock):
    """``multiprocessing.RLock``: its owner, a thread (or greenlet), may acquire it again.

    AssertionError when anybody else releases it.
    """

    _kind = "rlock"

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Wait for the lock, or count the owner's acquisitions."""
        if self._is_mine():
            _held[self._name].count += 1
            return True
        return super().acquire(block, timeout)

    def release(self) -> None:
        """Give it back as often as it was acquired; the last time hands it on."""
        if not self._is_mine():
            raise AssertionError("attempt to release recursive lock not owned by thread")
        held = _held[self._name]
        if held.count > 1:
            held.count -= 1
        else:
            super().release()

    def _release_all(self) -> int:
        held = _held[self._name]
        count, held.count = held.count, 1
        self.release()
        return count

    def _acquire_again(self, count: int) -> None:
        self.acquire()
        _held[self._name].count = count

    def __repr__(self) -> str:
        owner = _or_unknown(self._owner)
        count: object = "nonzero"
        if self._is_mine():
            count = self._count()
        elif owner in ("None", "unknown"):
            count = 0 if owner == "None" else owner
        return f"<{type(self).__name__}({owner}, {count})>"


class Condition(Handle):
    """``multiprocessing.Condition`` on an `RLock` of its own, or on a given `Lock` or `RLock`.

    A notified waiter that was killed does not swallow the notification: after a second it goes
    to the next one.
    """

    _kind = "condition"

    def __init__(self, lock: Lock | None = None) -> None:
        self._open(None, lock or RLock())

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        super()._open(name)
        self._lock: Lock = parameters[0]
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def _parameters(self) -> list[Any]:
        return [self._lock]

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.__exit__(exc_type, exc_value, traceback)

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, acquire it again; False after `timeout` seconds."""
        if not self._lock._is_mine():
            raise self._not_owned("must acquire() condition before using wait()")
        the_ticket = ticket()
        deadline = None if timeout is None else time.monotonic() + timeout
        # In line before the lock is free: who notifies needs the lock, so nothing is missed.
        told = bool(lines.WAIT(self._name, the_ticket))
        count = self._lock._release_all()
        try:
            while not told and (deadline is None or time.monotonic() < deadline):
                hear(the_ticket, deadline)
                told = bool(lines.WAIT(self._name, the_ticket))
        finally:
            with suppress(DaySixError):
                told = told or bool(lines.STOP_WAITING(self._name, the_ticket))
            self._lock._acquire_again(count)
        return told

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until the predicate holds, or `timeout` seconds; its last value."""
        deadline = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the `n` that have waited longest."""
        if not self._lock._is_mine():
            raise self._not_owned("lock is not owned")
        lines.NOTIFY(self._name, n)

    def notify_all(self) -> None:
        """Wake all that wait."""
        self.notify(SEM_VALUE_MAX)

    def _not_owned(self, message: str) -> Exception:
        return AssertionError(message)

    def _waiters(self) -> int:
        return int(lines.WAITERS(self._name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {_or_unknown(self._waiters)})>"


# arg: '1' or '0'. Sets the flag and wakes all, or clears it.
_SET = Script("""
  if arg[1] == '1' then
    redis.call('hset', name, 'set', 1)
    for _, ticket in ipairs(redis.call('lrange', name .. ':line', 0, -1)) do ring(ticket, 1) end
    redis.call('del', name .. ':line')
  else
    redis.call('hdel', name, 'set')
  end
  keep('')
  return 1
""")

_IS_SET = Script("return redis.call('hexists', name, 'set')", reads=True)

# arg: ticket, '1' to leave if it is not set. Whether it is set; if not, its bell will ring.
_AWAIT = Script("""
  local ticket, leave = arg[1], arg[2] == '1'
  local set = redis.call('hexists', name, 'set')
  redis.call('lrem', name .. ':line', 1, ticket)
  if set == 0 and not leave then redis.call('rpush', name .. ':line', ticket) end
  keep('', ':line')
  return set
""")


class Event(Handle):
    """``multiprocessing.Event``: a flag that many can wait for."""

    _kind = "event"

    def __init__(self) -> None:
        self._open(None)

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return bool(_IS_SET(self._name))

    def set(self) -> None:
        """Set the flag; all that wait go on."""
        _SET(self._name, "1")

    def clear(self) -> None:
        """Take the flag back."""
        _SET(self._name, "0")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the flag, `timeout` seconds at most; whether it was set."""
        the_ticket = ticket()
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                late = deadline is not None and time.monotonic() >= deadline
                if _AWAIT(self._name, the_ticket, "1" if late else "0"):
                    return True
                if late:
                    return False
                if hear(the_ticket, deadline):
                    return True
        except BaseException:
            with suppress(DaySixError):
                _AWAIT(self._name, the_ticket, "1")
            raise

    def __repr__(self) -> str:
        status: Literal["set", "unset"] = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {status}>"


def _or_unknown(read: Callable[[], Any]) -> Any:
    """What it reads, for a repr that must not fail."""
    try:
        return read()
    except DaySixError:
        return "unknown"

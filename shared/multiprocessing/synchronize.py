"""``multiprocessing.synchronize``: locks, semaphores, events and conditions on any machine.

Differences from the standard library: a lock is held under a lease, which the holder's process
renews. `LOCK_LEASE_S` after a holder was killed, the lock is free again. A holder that was paused
for longer gets `LockLost` from `release`. `fencing_number` grows with every acquisition: a resource
behind the lock can refuse a number lower than one it has seen.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

from shared.errors import DaySixError
from shared.handles.base import Handle
from shared.handles.scripts import Script, hear, ticket
from shared.multiprocessing import turns
from shared.multiprocessing.barriers import Barrier
from shared.multiprocessing.locks import (
    SEM_VALUE_MAX,
    BoundedSemaphore,
    Lock,
    RLock,
    Semaphore,
    or_unknown,
)

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]


class Condition(Handle):
    """``multiprocessing.Condition`` on an `RLock` of its own, or on a given `Lock` or `RLock`.

    If a notified waiter was killed, its notification goes to the next waiter after a second.
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
        """Release the lock, wait for a notification, and acquire the lock again.

        Returns False if no notification came within `timeout` seconds. None waits for ever, and a
        negative timeout counts as 0. Raises AssertionError if the lock is not held.
        """
        if not self._lock._is_mine():
            raise self._not_owned("must acquire() condition before using wait()")
        the_ticket = ticket()
        deadline = None if timeout is None else time.monotonic() + timeout
        # Join the line before freeing the lock. A notifier needs the lock, so no notification is
        # missed.
        told = bool(turns.WAIT(self._name, the_ticket))
        count = self._lock._release_all()
        try:
            while not told and (deadline is None or time.monotonic() < deadline):
                hear(the_ticket, deadline)
                told = bool(turns.WAIT(self._name, the_ticket))
        finally:
            with suppress(DaySixError):
                told = told or bool(turns.STOP_WAITING(self._name, the_ticket))
            self._lock._acquire_again(count)
        return told

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until the predicate is true, at most `timeout` seconds. Returns its last value."""
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
        """Wake the `n` waiters that have waited longest.

        Raises AssertionError if the lock is not held.
        """
        if not self._lock._is_mine():
            raise self._not_owned("lock is not owned")
        turns.NOTIFY(self._name, n)

    def notify_all(self) -> None:
        """Wake all waiters. Raises AssertionError if the lock is not held."""
        self.notify(SEM_VALUE_MAX)

    def _not_owned(self, message: str) -> Exception:
        return AssertionError(message)

    def _waiters(self) -> int:
        return int(turns.WAITERS(self._name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {or_unknown(self._waiters)})>"


# arg: '1' to set the flag and wake all waiters, '0' to clear the flag.
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

# arg: ticket, '1' to leave the line if the flag is not set. Returns whether the flag is set. If it
# is not, the ticket's bell will ring.
_AWAIT = Script("""
  local ticket, leave = arg[1], arg[2] == '1'
  local set = redis.call('hexists', name, 'set')
  redis.call('lrem', name .. ':line', 1, ticket)
  if set == 0 and not leave then redis.call('rpush', name .. ':line', ticket) end
  keep('', ':line')
  return set
""")


class Event(Handle):
    """``multiprocessing.Event``: a flag that many processes can wait for.

    Its methods raise `BrokerUnavailable` if Redis does not answer.
    """

    _kind = "event"

    def __init__(self) -> None:
        self._open(None)

    def is_set(self) -> bool:
        """True if the flag is set."""
        return bool(_IS_SET(self._name))

    def set(self) -> None:
        """Set the flag and wake all waiters."""
        _SET(self._name, "1")

    def clear(self) -> None:
        """Clear the flag."""
        _SET(self._name, "0")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, at most `timeout` seconds. Returns False after that time.

        None waits for ever, and a negative timeout counts as 0.
        """
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

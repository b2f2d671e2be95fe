"""Semaphores and locks.

Waiting processes stand in a line (`shared.multiprocessing.turns`): first come, first served. Redis
wakes the first waiter at once, so waiters do not poll.

A lock is held under a lease, which the holder's process renews. `LOCK_LEASE_S` after a holder was
killed, the lock is free. A holder that was paused for longer gets `LockLost` from `release`.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import process
from types import TracebackType
from typing import Any

from shared.errors import DaySixError, LockLost
from shared.handles.base import Handle
from shared.handles.leases import Hold, keeper
from shared.handles.scripts import hear, me, ticket
from shared.multiprocessing import turns
from shared.settings import current

SEM_VALUE_MAX = 2**31 - 1


class Permits(Handle):
    """A counter with a line of waiters: the common base of semaphores and locks."""

    _initial = 1

    def _acquire(self, block: bool, timeout: float | None, lease_s: float = 0) -> tuple[int, str]:
        """The number of this acquisition (0: not acquired in time), and its ticket."""
        the_ticket = ticket()
        deadline = None if timeout is None else time.monotonic() + timeout
        waits = block and (timeout is None or timeout > 0)

        def look(otherwise: str) -> int:
            hold_ms = int(lease_s * 1000)
            return int(turns.ACQUIRE(self._name, the_ticket, self._initial, hold_ms, otherwise))

        number = look("wait" if waits else "leave")
        try:
            while not number and waits:
                hear(the_ticket, deadline)
                waits = deadline is None or time.monotonic() < deadline
                number = look("wait" if waits else "leave")
        except BaseException:
            # Interrupted: pass a permit that this waiter may have got to the next waiter.
            with suppress(DaySixError):
                turns.ABANDON(self._name, the_ticket, self._initial)
            raise
        return number, the_ticket

    def _free(self) -> int:
        return int(turns.FREE(self._name, self._initial))

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
        """Take a permit. Waits at most `timeout` seconds (None: for ever; negative: 0)."""
        raise NotImplementedError

    def release(self) -> None:
        """Return a permit."""
        raise NotImplementedError


class Semaphore(Permits):
    """``multiprocessing.Semaphore``: a counter that never goes below zero.

    A semaphore has no lease, because any process may release it, as a signal to others. So a
    permit of a killed process stays taken.
    Raises ValueError for an initial value below 0 or above `SEM_VALUE_MAX`.
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
        """Count down by one. Waits while the counter is zero, at most `timeout` seconds.

        Returns False after that time. None waits for ever, and a negative timeout counts as 0.
        """
        number, _ = self._acquire(block, timeout)
        return number > 0

    def release(self) -> None:
        """Count up by one and wake the first waiter.

        A `BoundedSemaphore` raises ValueError if it is released more often than acquired.
        """
        if not turns.RELEASE(self._name, self._initial, self._highest, 1):
            raise ValueError("semaphore or lock released too many times")

    def get_value(self) -> int:
        """The present value of the counter."""
        return self._free()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={or_unknown(self.get_value)})>"


class BoundedSemaphore(Semaphore):
    """``multiprocessing.BoundedSemaphore``: a semaphore with an upper limit.

    `release` raises ValueError if it is called more often than `acquire`.
    """

    _kind = "boundedsemaphore"

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        super()._open(name, *parameters)
        self._highest = max(1, self._initial)

    def __repr__(self) -> str:
        value = or_unknown(self.get_value)
        return f"<{type(self).__name__}(value={value}, maxvalue={self._initial})>"


@dataclass(eq=False)
class _Held(Hold):
    """A lock that this process holds."""

    number: int = 0
    owner: str = ""
    count: int = 1


# The locks that this process holds, by name. All handles of one lock share an entry.
_held: dict[str, _Held] = {}
os.register_at_fork(after_in_child=_held.clear)  # the parent's locks are not the child's


class Lock(Permits):
    """``multiprocessing.Lock``: held by one process at a time, on any machine.

    As in the standard library, any process may release the lock. The hold has a lease of
    `LOCK_LEASE_S` seconds, which a thread of the holder's process renews.
    """

    _kind = "lock"

    def __init__(self) -> None:
        self._open(None)

    @property
    def fencing_number(self) -> int | None:
        """The number of this process's present hold, or None if it does not hold the lock.

        Each acquisition gets a higher number. A resource behind the lock can refuse a number lower
        than one it has seen.
        """
        held = _held.get(self._name)
        return None if held is None else held.number

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock. Waits at most `timeout` seconds; returns False after that time.

        None waits for ever, and a negative timeout counts as 0. With ``block=False``, does not
        wait. Raises `BrokerUnavailable` if Redis does not answer.
        """
        number, the_ticket = self._acquire(block, timeout, current().lock_lease_s)
        if not number:
            return False
        held = _Held(self._name, the_ticket, number=number, owner=me())
        before, _held[self._name] = _held.get(self._name), held
        if before is not None:
            keeper.drop(before)  # another process released the earlier hold
        keeper.keep(held)
        return True

    def release(self) -> None:
        """Release the lock and wake the first waiter.

        Raises ValueError if the lock is free, and `LockLost` if this process's lease has ended.
        """
        held = _held.pop(self._name, None)
        if held is not None:
            keeper.drop(held)
        released = turns.RELEASE_HOLD(self._name, held.ticket if held else "")
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
        """Release all acquisitions of the owner. Returns their number for `_acquire_again`."""
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
        return f"<{type(self).__name__}(owner={or_unknown(self._owner)})>"


class RLock(Lock):
    """``multiprocessing.RLock``: a lock that its owner, a thread or greenlet, may acquire again."""

    _kind = "rlock"

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock as `Lock.acquire` does. The owner gets it again without waiting."""
        if self._is_mine():
            _held[self._name].count += 1
            return True
        return super().acquire(block, timeout)

    def release(self) -> None:
        """Undo one acquisition. The last one releases the lock and wakes the first waiter.

        Raises AssertionError if this thread is not the owner, and `LockLost` if the lease has
        ended.
        """
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
        owner = or_unknown(self._owner)
        count: object = "nonzero"
        if self._is_mine():
            count = self._count()
        elif owner in ("None", "unknown"):
            count = 0 if owner == "None" else owner
        return f"<{type(self).__name__}({owner}, {count})>"


def or_unknown(read: Callable[[], Any]) -> Any:
    """The result of `read`, or "unknown" if Redis does not answer, for a repr."""
    try:
        return read()
    except DaySixError:
        return "unknown"

"""``multiprocessing.managers``: objects that many processes share, without a server process.

The data is in Redis. A manager only makes objects, and removes them at `shutdown`. Managed locks,
events … raise the errors of ``threading``, as in the standard library: RuntimeError where
``multiprocessing.Lock`` raises ValueError, and so on.

Differences from the standard library: there is no server to `connect` to, so pass the objects
themselves. `register` accepts no classes of your own, because Redis cannot run their methods.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from multiprocessing.managers import Namespace
from types import TracebackType
from typing import Any, Self, TypeVar

from shared.handles import leases
from shared.handles.base import Handle
from shared.multiprocessing import barriers, locks, queues, synchronize
from shared.multiprocessing.dicts import DictProxy, NamespaceProxy, ValueProxy
from shared.multiprocessing.lists import ArrayProxy, ListProxy

__all__ = [
    "AcquirerProxy",
    "ArrayProxy",
    "BarrierProxy",
    "BaseManager",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "ListProxy",
    "Manager",
    "Namespace",
    "NamespaceProxy",
    "SyncManager",
    "ValueProxy",
]

_Made = TypeVar("_Made", bound=Handle)
_NO_CLASSES = "a manager here is Redis: it can hold data, not run the methods of your classes"


class AcquirerProxy(locks.Permits):
    """``multiprocessing.managers.AcquirerProxy``: a managed lock or semaphore."""

    _typeid: str

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire it. Waits at most `timeout` seconds; None and -1 wait for ever.

        Returns False after that time. Raises ValueError for another negative timeout, and for a
        timeout with ``blocking=False``.
        """
        if timeout is not None:
            if not blocking:
                raise ValueError("can't specify a timeout for a non-blocking call")
            if timeout < 0 and timeout != -1:
                raise ValueError("timeout value must be a non-negative number")
        return super().acquire(blocking, None if timeout == -1 else timeout)

    def __repr__(self) -> str:
        return f"<AcquirerProxy object, typeid {self._typeid!r} at {id(self):#x}>"


class LockProxy(AcquirerProxy, locks.Lock):
    """A managed ``threading.Lock``."""

    _kind = "managedlock"
    _typeid = "Lock"

    def release(self) -> None:
        """Release the lock and wake the first waiter. Raises RuntimeError if it is free."""
        try:
            super().release()
        except ValueError:
            raise RuntimeError("release unlocked lock") from None


class RLockProxy(AcquirerProxy, locks.RLock):
    """A managed ``threading.RLock``."""

    _kind = "managedrlock"
    _typeid = "RLock"

    def release(self) -> None:
        """Undo one acquisition. Raises RuntimeError if this thread is not the owner."""
        try:
            super().release()
        except AssertionError:
            raise RuntimeError("cannot release un-acquired lock") from None


class SemaphoreProxy(AcquirerProxy, locks.Semaphore):
    """A managed ``threading.Semaphore``."""

    _kind = "managedsemaphore"
    _typeid = "Semaphore"


class BoundedSemaphoreProxy(AcquirerProxy, locks.BoundedSemaphore):
    """A managed ``threading.BoundedSemaphore``."""

    _kind = "managedboundedsemaphore"
    _typeid = "BoundedSemaphore"

    def release(self) -> None:
        """Count up by one. Raises ValueError if it is released more often than acquired."""
        try:
            super().release()
        except ValueError:
            raise ValueError("Semaphore released too many times") from None


class ConditionProxy(synchronize.Condition):
    """A managed ``threading.Condition``. Its methods raise RuntimeError without the lock."""

    _kind = "managedcondition"

    def __init__(self, lock: locks.Lock | None = None) -> None:
        super().__init__(lock or RLockProxy())

    def _not_owned(self, message: str) -> Exception:
        return RuntimeError(message)

    def __repr__(self) -> str:
        return f"<ConditionProxy object, typeid 'Condition' at {id(self):#x}>"


class EventProxy(synchronize.Event):
    """A managed ``threading.Event``."""

    _kind = "managedevent"

    def __repr__(self) -> str:
        return f"<EventProxy object, typeid 'Event' at {id(self):#x}>"


class BarrierProxy(barriers.Barrier):
    """A managed ``threading.Barrier``."""

    _kind = "managedbarrier"

    def __repr__(self) -> str:
        return f"<BarrierProxy object, typeid 'Barrier' at {id(self):#x}>"


class QueueProxy(queues.JoinableQueue):
    """A managed ``queue.Queue``, with `task_done` and `join`.

    `put` and `get` raise ValueError for a negative timeout.
    """

    _kind = "managedqueue"
    _typeid = "Queue"

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an item. Waits while the queue is full, at most `timeout` seconds.

        Raises `queue.Full` after that time, or at once with ``block=False``.
        """
        _check_timeout(block, timeout)
        super().put(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the first item. Waits for one, at most `timeout` seconds.

        Raises `queue.Empty` after that time, or at once with ``block=False``.
        """
        _check_timeout(block, timeout)
        return super().get(block, timeout)

    def __repr__(self) -> str:
        return f"<AutoProxy[{self._typeid}] object, typeid {self._typeid!r} at {id(self):#x}>"


class JoinableQueueProxy(QueueProxy):
    """The queue that ``SyncManager.JoinableQueue`` makes; like `QueueProxy`."""

    _kind = "managedjoinablequeue"
    _typeid = "JoinableQueue"


def _check_timeout(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


class BaseManager:
    """``multiprocessing.managers.BaseManager``: call `start` and `shutdown`, or use ``with``.

    It accepts the standard library's arguments and ignores them, because there is no server.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._names: set[str] = set()
        self._state = "INITIAL"
        self._pid = os.getpid()

    def start(self, initializer: Callable[..., Any] | None = None, initargs: Any = ()) -> None:
        """Start the manager. The initializer runs in this process, because there is no other.

        Raises ``multiprocessing.ProcessError`` if the manager was started before.
        """
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if self._state != "INITIAL":
            raise multiprocessing.ProcessError(
                "Already started server" if self._state == "STARTED" else "Manager has shut down"
            )
        if initializer is not None:
            initializer(*initargs)
        self._state = "STARTED"

    def shutdown(self) -> None:
        """Remove the manager's objects from Redis, in the process that made the manager."""
        if self._state == "STARTED" and self._pid == os.getpid():
            self._state = "SHUTDOWN"
            leases.delete(self._names)
            self._names.clear()

    def join(self, timeout: float | None = None) -> None:
        """Returns at once, because there is no server process."""

    @classmethod
    def register(cls, typeid: str, *args: Any, **kwargs: Any) -> None:
        """Raises NotImplementedError, because Redis cannot run the methods of classes."""
        raise NotImplementedError(_NO_CLASSES)

    def _number_of_objects(self) -> int:
        return len(self._names)

    def _debug_info(self) -> str:
        return "\n".join(sorted(self._names))

    def _made(self, handle: _Made) -> _Made:
        if self._state != "STARTED":
            leases.delete([handle._name])
            raise AssertionError("server not yet started")
        self._names.add(handle._name)
        return handle

    def __enter__(self) -> Self:
        if self._state == "INITIAL":
            self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()


class SyncManager(BaseManager):
    """``multiprocessing.managers.SyncManager``: makes objects that many processes share.

    Its methods raise AssertionError before `start` and after `shutdown`.
    """

    def list(self, iterable: Iterable[Any] = (), /) -> ListProxy:
        """A managed list."""
        return self._made(ListProxy._create(iterable))

    def dict(self, /, *args: Any, **kwargs: Any) -> DictProxy:
        """A managed dict."""
        return self._made(DictProxy._create(*args, **kwargs))

    def Namespace(self, /, **kwargs: Any) -> NamespaceProxy:  # noqa: N802 - the standard library's name
        """A managed namespace."""
        return self._made(NamespaceProxy._create(**kwargs))

    def Value(self, typecode: Any, value: Any, lock: bool = True) -> ValueProxy:  # noqa: N802
        """A managed value of any kind."""
        return self._made(ValueProxy._create(typecode, value, lock))

    def Array(self, typecode: str, sequence: Iterable[Any], lock: bool = True) -> ArrayProxy:  # noqa: N802
        """A managed ``array.array``."""
        return self._made(ArrayProxy._create(typecode, sequence, lock))

    def Lock(self) -> LockProxy:  # noqa: N802
        """A managed lock."""
        return self._made(LockProxy())

    def RLock(self) -> RLockProxy:  # noqa: N802
        """A managed lock that its owner may acquire again."""
        return self._made(RLockProxy())

    def Semaphore(self, value: int = 1) -> SemaphoreProxy:  # noqa: N802
        """A managed semaphore."""
        return self._made(SemaphoreProxy(value))

    def BoundedSemaphore(self, value: int = 1) -> BoundedSemaphoreProxy:  # noqa: N802
        """A managed semaphore whose count has an upper limit."""
        return self._made(BoundedSemaphoreProxy(value))

    def Condition(self, lock: locks.Lock | None = None) -> ConditionProxy:  # noqa: N802
        """A managed condition, on a lock of its own or on a given one."""
        condition = ConditionProxy(lock)
        if lock is None:
            self._made(condition._lock)
        return self._made(condition)

    def Event(self) -> EventProxy:  # noqa: N802
        """A managed event."""
        return self._made(EventProxy())

    def Barrier(  # noqa: N802
        self, parties: int, action: Callable[[], Any] | None = None, timeout: float | None = None
    ) -> BarrierProxy:
        """A managed barrier."""
        return self._made(BarrierProxy(parties, action, timeout))

    def Queue(self, maxsize: int = 0) -> QueueProxy:  # noqa: N802
        """A managed queue."""
        return self._made(QueueProxy(maxsize))

    def JoinableQueue(self, maxsize: int = 0) -> JoinableQueueProxy:  # noqa: N802
        """A managed queue, with `task_done` and `join`."""
        return self._made(JoinableQueueProxy(maxsize))

    def Pool(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """A pool over the workers. Unlike a manager's other objects, it cannot be sent."""
        from shared.multiprocessing.pool import Pool  # noqa: PLC0415 - few need it

        return Pool(*args, **kwargs)


def Manager() -> SyncManager:  # noqa: N802 - the standard library's name
    """Make and start a manager."""
    manager = SyncManager()
    manager.start()
    return manager

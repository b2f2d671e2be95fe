"""``multiprocessing.managers``: objects that many processes share, without a server process.

Redis is the server: a manager only makes objects and, at `shutdown`, removes them. Its locks,
events … behave as the standard library's managed ones do, which are those of ``threading``:
RuntimeError where ``multiprocessing.Lock`` raises ValueError, and so on.

Differences from the standard library: there is nothing to `connect` to (pass the objects
themselves), and `register` takes no classes of your own: Redis cannot run their methods.
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
    """``multiprocessing.managers.AcquirerProxy``: what can be acquired and released."""

    _typeid: str

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take it; waits, `timeout` seconds at most (None or -1: for ever)."""
        if timeout is not None:
            if not blocking:
                raise ValueError("can't specify a timeout for a non-blocking call")
            if timeout < 0 and timeout != -1:
                raise ValueError("timeout value must be a non-negative number")
        return super().acquire(blocking, None if timeout == -1 else timeout)

    def __repr__(self) -> str:
        return f"<AcquirerProxy object, typeid {self._typeid!r} at {id(self):#x}>"


class LockProxy(AcquirerProxy, locks.Lock):
    """A managed ``threading.Lock``: RuntimeError when a free one is released."""

    _kind = "managedlock"
    _typeid = "Lock"

    def release(self) -> None:
        """Hand it to the first in line."""
        try:
            super().release()
        except ValueError:
            raise RuntimeError("release unlocked lock") from None


class RLockProxy(AcquirerProxy, locks.RLock):
    """A managed ``threading.RLock``: RuntimeError when anybody but its owner releases it."""

    _kind = "managedrlock"
    _typeid = "RLock"

    def release(self) -> None:
        """Give it back as often as it was acquired."""
        try:
            super().release()
        except AssertionError:
            raise RuntimeError("cannot release un-acquired lock") from None


class SemaphoreProxy(AcquirerProxy, locks.Semaphore):
    """A managed ``threading.Semaphore``."""

    _kind = "managedsemaphore"
    _typeid = "Semaphore"


class BoundedSemaphoreProxy(AcquirerProxy, locks.BoundedSemaphore):
    """A managed ``threading.BoundedSemaphore``: ValueError when released too often."""

    _kind = "managedboundedsemaphore"
    _typeid = "BoundedSemaphore"

    def release(self) -> None:
        """Count up by one."""
        try:
            super().release()
        except ValueError:
            raise ValueError("Semaphore released too many times") from None


class ConditionProxy(synchronize.Condition):
    """A managed ``threading.Condition``: RuntimeError without its lock."""

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
    """A managed ``queue.Queue``: it has `task_done` and `join`; a negative timeout is an error."""

    _kind = "managedqueue"
    _typeid = "Queue"

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an item; waits for room, `timeout` seconds at most, then `queue.Full`."""
        _check_timeout(block, timeout)
        super().put(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The first item; waits for one, `timeout` seconds at most, then `queue.Empty`."""
        _check_timeout(block, timeout)
        return super().get(block, timeout)

    def __repr__(self) -> str:
        return f"<AutoProxy[{self._typeid}] object, typeid {self._typeid!r} at {id(self):#x}>"


class JoinableQueueProxy(QueueProxy):
    """The same, as ``SyncManager.JoinableQueue`` makes it."""

    _kind = "managedjoinablequeue"
    _typeid = "JoinableQueue"


def _check_timeout(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


class BaseManager:
    """``multiprocessing.managers.BaseManager``: made, started, shut down, or a ``with`` block.

    Its arguments are the standard library's; there is no server they could tell anything.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._names: set[str] = set()
        self._state = "INITIAL"
        self._pid = os.getpid()

    def start(self, initializer: Callable[..., Any] | None = None, initargs: Any = ()) -> None:
        """Begin; the initializer is called here, for there is no other process."""
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
        """Remove what it made from Redis; only in the process that made it."""
        if self._state == "STARTED" and self._pid == os.getpid():
            self._state = "SHUTDOWN"
            leases.delete(self._names)
            self._names.clear()

    def join(self, timeout: float | None = None) -> None:
        """Nothing to wait for: there is no server process."""

    @classmethod
    def register(cls, typeid: str, *args: Any, **kwargs: Any) -> None:
        """NotImplementedError: see the module's docstring."""
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
    """``multiprocessing.managers.SyncManager``: makes what many processes share."""

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
        """A managed semaphore that knows its highest count."""
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
        """A managed queue; all of them can be joined."""
        return self._made(JoinableQueueProxy(maxsize))

    def Pool(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """A pool over the workers; unlike what else a manager makes, it cannot be passed on."""
        from shared.multiprocessing.pool import Pool  # noqa: PLC0415 - few need it

        return Pool(*args, **kwargs)


def Manager() -> SyncManager:  # noqa: N802 - the standard library's name
    """A started manager."""
    manager = SyncManager()
    manager.start()
    return manager

"""Handles: the common base of queues, locks, managed lists and other remote objects.

A handle holds no data, only a name in Redis and a few small parameters. It can be an argument of a
task, or an item of a queue or a managed list. It travels as its kind, name and parameters, and
becomes a handle again in the receiving process. No code travels.

A handle may be an item of another handle (a queue in a managed dict). The outer handle counts it in
its ``refs`` and keeps it alive: see `shared.handles.leases`.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from shared.broker.keys import new_word
from shared.errors import NotPortable
from shared.handles.leases import keeper

# Each kind and its class. A message can make only these.
_PACKAGE = "shared.multiprocessing"
_KINDS = {
    "parcel": "shared.calls.parcels:Parcel",
    "queue": f"{_PACKAGE}.queues:Queue",
    "simplequeue": f"{_PACKAGE}.queues:SimpleQueue",
    "joinablequeue": f"{_PACKAGE}.queues:JoinableQueue",
    "lock": f"{_PACKAGE}.locks:Lock",
    "rlock": f"{_PACKAGE}.locks:RLock",
    "semaphore": f"{_PACKAGE}.locks:Semaphore",
    "boundedsemaphore": f"{_PACKAGE}.locks:BoundedSemaphore",
    "condition": f"{_PACKAGE}.synchronize:Condition",
    "event": f"{_PACKAGE}.synchronize:Event",
    "barrier": f"{_PACKAGE}.barriers:Barrier",
    "connection": f"{_PACKAGE}.connection:Connection",
    "rawvalue": f"{_PACKAGE}.heap:SharedValue",
    "rawarray": f"{_PACKAGE}.heap:SharedArray",
    "rawstring": f"{_PACKAGE}.heap:SharedString",
    "rawstructure": f"{_PACKAGE}.heap:SharedStructure",
    "synchronized": f"{_PACKAGE}.sharedctypes:Synchronized",
    "synchronizedarray": f"{_PACKAGE}.sharedctypes:SynchronizedArray",
    "synchronizedstring": f"{_PACKAGE}.sharedctypes:SynchronizedString",
    "synchronizedstructure": f"{_PACKAGE}.sharedctypes:SynchronizedStructure",
    "list": f"{_PACKAGE}.lists:ListProxy",
    "dict": f"{_PACKAGE}.dicts:DictProxy",
    "namespace": f"{_PACKAGE}.dicts:NamespaceProxy",
    "value": f"{_PACKAGE}.dicts:ValueProxy",
    "array": f"{_PACKAGE}.lists:ArrayProxy",
    "managedlock": f"{_PACKAGE}.managers:LockProxy",
    "managedrlock": f"{_PACKAGE}.managers:RLockProxy",
    "managedsemaphore": f"{_PACKAGE}.managers:SemaphoreProxy",
    "managedboundedsemaphore": f"{_PACKAGE}.managers:BoundedSemaphoreProxy",
    "managedcondition": f"{_PACKAGE}.managers:ConditionProxy",
    "managedevent": f"{_PACKAGE}.managers:EventProxy",
    "managedbarrier": f"{_PACKAGE}.managers:BarrierProxy",
    "managedqueue": f"{_PACKAGE}.managers:QueueProxy",
    "managedjoinablequeue": f"{_PACKAGE}.managers:JoinableQueueProxy",
}


class Handle:
    """The base class of all remote objects."""

    _kind: ClassVar[str]
    _name: str

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        """Set the name (None: a new name). Does not connect to Redis.

        Called for new handles and for received ones, so subclasses set their parameters here.
        """
        self._name = name or f"{self._kind}:{new_word()}"
        keeper.watch(self)

    def _parameters(self) -> list[Any]:
        """The parameters for `_open`, besides the name: data or other handles."""
        return []

    def _names(self) -> tuple[str, ...]:
        """The names whose keys stay in Redis while this object is alive."""
        return (self._name,)

    def __handle__(self) -> list[Any]:
        """The parts that travel: kind, name and parameters.

        Raises `NotPortable` for a subclass that is no kind itself.
        """
        if find_class(self._kind) is not type(self):
            raise NotPortable(
                f"{type(self).__qualname__} {self._name!r}",
                f"it is a subclass of {find_class(self._kind).__qualname__}; pass that instead",
            )
        if _inside.names is not None:
            _inside.names.extend(self._names())
        return [self._kind, self._name, self._parameters()]

    def __reduce__(self) -> Any:
        # Only for a local `multiprocessing.Process`. This library never unpickles.
        return reopen, (type(self), self._name, self._parameters())


_Any = TypeVar("_Any", bound=Handle)


def reopen(cls: type[_Any], name: str | None, parameters: list[Any]) -> _Any:
    """A handle of the given class and name (None: a new name)."""
    handle = cls.__new__(cls)
    handle._open(name, *parameters)  # noqa: SLF001 - a proxy's public names are its user's
    return handle


def key_of(handle: Any) -> str:
    """The key in Redis that a handle names."""
    name: str = handle._name  # noqa: SLF001 - a proxy's public names are its user's
    return name


def rebuild(kind: str, name: str, parameters: list[Any]) -> Handle:
    """Make a handle from the parts that `__handle__` gave.

    Raises `NotPortable` for an unknown kind.
    """
    if kind not in _KINDS:
        raise NotPortable("a message", f"it has a handle of unknown kind {kind!r}")
    return reopen(find_class(kind), name, parameters)


def find_class(kind: str) -> type[Handle]:
    """The class of a kind. Imports its module at the first use."""
    module, _, name = _KINDS[kind].partition(":")
    found: type[Handle] = getattr(importlib.import_module(module), name)
    return found


class _Inside(threading.local):
    names: list[str] | None = None


_inside = _Inside()


def collect_anew() -> None:
    """Forget the names collected so far, because the value is encoded again."""
    if _inside.names is not None:
        _inside.names.clear()


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Collect the names of all handles that this thread encodes inside the block."""
    before, _inside.names = _inside.names, []
    try:
        yield _inside.names
    finally:
        _inside.names = before

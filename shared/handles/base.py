"""What a queue, a lock, a managed list … have in common: they are names.

A handle holds no data, only a name in Redis and a few small parameters. As an argument of a
task, as an item of a queue or of a managed list, it travels as its kind, name and parameters,
and is a handle again where it arrives; nothing of it is executed on the way.

Where a handle lies inside another (a queue in a managed dict), the outer one counts it in its
``refs`` and keeps it alive: see `shared.handles.leases`.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from shared.broker.keys import new_word
from shared.errors import NotPortable
from shared.handles.leases import keeper

# Each kind and its class: only these are ever made from a message.
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
    """The base of everything remote that has a name."""

    _kind: ClassVar[str]
    _name: str

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        """Become the handle of that name (None: of a new one). Connects to nothing.

        Subclasses take their parameters from here, whether they were constructed or arrived.
        """
        self._name = name or f"{self._kind}:{new_word()}"
        keeper.watch(self)

    def _parameters(self) -> list[Any]:
        """What `_open` takes, besides the name; data or other handles."""
        return []

    def _names(self) -> tuple[str, ...]:
        """The names whose keys stay in Redis while this object is alive."""
        return (self._name,)

    def __handle__(self) -> list[Any]:
        """What travels: kind, name and parameters."""
        if find_class(self._kind) is not type(self):
            raise NotPortable(
                f"{type(self).__qualname__} {self._name!r}",
                f"it is a subclass of {find_class(self._kind).__qualname__}; pass that instead",
            )
        if _inside.names is not None:
            _inside.names.extend(self._names())
        return [self._kind, self._name, self._parameters()]

    def __reduce__(self) -> Any:
        # For a local `multiprocessing.Process` only: nothing of ours ever unpickles.
        return reopen, (type(self), self._name, self._parameters())


_Any = TypeVar("_Any", bound=Handle)


def reopen(cls: type[_Any], name: str | None, parameters: list[Any]) -> _Any:
    """A handle of a class by its name; None for a new one."""
    handle = cls.__new__(cls)
    handle._open(name, *parameters)  # noqa: SLF001 - a proxy's public names are its user's
    return handle


def key_of(handle: Any) -> str:
    """The key in Redis that a handle names."""
    name: str = handle._name  # noqa: SLF001 - a proxy's public names are its user's
    return name


def rebuild(kind: str, name: str, parameters: list[Any]) -> Handle:
    """The handle that `__handle__` described; NotPortable for a kind that is none."""
    if kind not in _KINDS:
        raise NotPortable("a message", f"it has a handle of unknown kind {kind!r}")
    return reopen(find_class(kind), name, parameters)


def find_class(kind: str) -> type[Handle]:
    """The class of a kind, its module imported at the first need."""
    module, _, name = _KINDS[kind].partition(":")
    found: type[Handle] = getattr(importlib.import_module(module), name)
    return found


class _Inside(threading.local):
    names: list[str] | None = None


_inside = _Inside()


def collect_anew() -> None:
    """Forget the names that were collected so far: the value is encoded once more."""
    if _inside.names is not None:
        _inside.names.clear()


@contextmanager
def collecting() -> Iterator[list[str]]:
    """The names of all handles that are encoded meanwhile, by this thread."""
    before, _inside.names = _inside.names, []
    try:
        yield _inside.names
    finally:
        _inside.names = before

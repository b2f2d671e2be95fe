"""``multiprocessing.sharedctypes``: C values and arrays that processes on any machine share.

The bytes of the C object are in Redis. The ctypes type makes them in this process, so numbers wrap,
and errors are raised, as in ctypes. Every access reads or writes only the bytes of its item.
``with value.get_lock(): value.value += 1`` is exact. Inner structures and arrays are live objects:
see `shared.multiprocessing.live`.

Differences from the standard library: `RawValue` and `RawArray` return objects that behave like
ctypes objects but are none, so they cannot be passed to a C function. Types with a pointer raise
TypeError, because an address has no meaning on another machine.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from shared.handles.base import Handle, reopen
from shared.multiprocessing.heap import (
    Memory,
    SharedArray,
    SharedString,
    SharedStructure,
    SharedValue,
    share,
    typecode_to_type,
)
from shared.multiprocessing.locks import RLock

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]


def RawValue(typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802 - the standard library's name
    """A shared value of a C type, without a lock: zero, or made from the arguments.

    Raises TypeError for a type with a pointer, and for no type at all.
    """
    kind = _find_type(typecode_or_type)
    return share(kind(*args))


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:  # noqa: N802
    """A shared array of a C type, without a lock: of so many zeros, or of the given items."""
    kind = _find_type(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return share((kind * size_or_initializer)())
    return share((kind * len(size_or_initializer))(*size_or_initializer))


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:  # noqa: N802
    """A shared value of a C type, with a lock. With ``lock=False``, the raw value."""
    _check_lock(lock)
    value = RawValue(typecode_or_type, *args)
    return value if lock is False else synchronized(value, None if lock is True else lock)


def Array(  # noqa: N802
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None
) -> Any:
    """A shared array of a C type, with a lock. With ``lock=False``, the raw array."""
    _check_lock(lock)
    array = RawArray(typecode_or_type, size_or_initializer)
    return array if lock is False else synchronized(array, None if lock is True else lock)


def copy(obj: Any) -> Any:
    """A new shared object with the same content."""
    return share(obj._load() if isinstance(obj, Memory) else obj)


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """Wrap a shared object with a lock, by default a new `RLock`."""
    if isinstance(obj, SynchronizedBase):
        raise AssertionError("object already synchronized")
    kinds: dict[Any, type[SynchronizedBase]] = {
        SharedValue: Synchronized,
        SharedArray: SynchronizedArray,
        SharedString: SynchronizedString,
        SharedStructure: SynchronizedStructure,
    }
    return reopen(kinds[type(obj)], None, [obj, lock or RLock()])


class SynchronizedBase(Handle):
    """A shared object with its lock. Every access acquires the lock."""

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        super()._open(name)
        self._obj, self._lock = parameters
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release

    def _parameters(self) -> list[Any]:
        return [self._obj, self._lock]

    def get_obj(self) -> Any:
        """The object without the lock."""
        return self._obj

    def get_lock(self) -> Any:
        """The lock."""
        return self._lock

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.__exit__(exc_type, exc_value, traceback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self._obj}>"


def _under_lock(name: str) -> property:
    def read(self: SynchronizedBase) -> Any:
        with self:
            return getattr(self._obj, name)

    def write(self: SynchronizedBase, value: Any) -> None:
        with self:
            setattr(self._obj, name, value)

    return property(read, write)


class Synchronized(SynchronizedBase):
    """``multiprocessing.sharedctypes.Synchronized``: a value and its lock."""

    _kind = "synchronized"
    value = _under_lock("value")


class SynchronizedArray(SynchronizedBase):
    """``multiprocessing.sharedctypes.SynchronizedArray``: an array and its lock."""

    _kind = "synchronizedarray"

    def __len__(self) -> int:
        return len(self._obj)

    def __getitem__(self, index: int | slice) -> Any:
        with self:
            return self._obj[index]

    def __setitem__(self, index: int | slice, value: Any) -> None:
        with self:
            self._obj[index] = value


class SynchronizedString(SynchronizedArray):
    """``multiprocessing.sharedctypes.SynchronizedString``: characters and their lock."""

    _kind = "synchronizedstring"
    value = _under_lock("value")
    raw = _under_lock("raw")


class SynchronizedStructure(SynchronizedBase):
    """A structure and its lock: the fields are attributes."""

    _kind = "synchronizedstructure"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("acquire", "release"):
            return object.__getattribute__(self, name)
        with self:
            return getattr(self._obj, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name in ("acquire", "release"):
            object.__setattr__(self, name, value)
            return
        with self:
            setattr(self._obj, name, value)


def _find_type(typecode_or_type: Any) -> Any:
    kind = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if not isinstance(kind, type):
        raise TypeError(f"{typecode_or_type!r} is neither a type code nor a ctypes type")
    return kind


def _check_lock(lock: Any) -> None:
    if lock not in (True, False, None) and not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")

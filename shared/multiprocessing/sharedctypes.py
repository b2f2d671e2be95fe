"""``multiprocessing.sharedctypes``: C values and arrays that processes on any machine share.

The bytes that the C object would have lie in Redis, as the ctypes type makes them here: what is
too large wraps as it does in ctypes, what does not fit raises ctypes' own error. Every access
reads or writes just its bytes; ``with value.get_lock(): value.value += 1`` is exact.

Differences from the standard library: what `RawValue` and `RawArray` return behaves like the
ctypes object and is none, so it cannot be passed to a C function; types that hold a pointer
are refused with TypeError, for an address means nothing elsewhere.
"""

import ctypes
from collections.abc import Callable
from types import TracebackType
from typing import Any

from shared.handles import Handle, reopen
from shared.multiprocessing.synchronize import RLock
from shared.scripts import Script

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

typecode_to_type: dict[str, Any] = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}
# By the code that ctypes itself has for a simple type: it travels in place of the class.
_SIMPLE: dict[str, Any] = {
    kind._type_: kind for kind in (*typecode_to_type.values(), ctypes.c_bool, ctypes.c_longdouble)
}

# arg: offset and bytes in turn.
_WRITE = Script("""
  for i = 1, #arg, 2 do redis.call('setrange', name, arg[i], arg[i + 1]) end
  keep('')
  return 1
""")

# arg: first and last byte.
_READ = Script(
    """
  if redis.call('exists', name) == 0 then return redis.error_reply('GONE') end
  return redis.call('getrange', name, arg[1], arg[2])
""",
    reads=True,
)


class _Memory(Handle):
    """The bytes of one C object."""

    _type: Any  # the ctypes class

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        (what,) = parameters
        self._type = _SIMPLE[what] if isinstance(what, str) else what
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [_portable(self._type)]

    def _load(self) -> Any:
        """A local copy, a real ctypes object."""
        size = ctypes.sizeof(self._type)
        # An empty array has no bytes, and so no key either.
        data = _READ(self._name, 0, size - 1) if size else b""
        return self._type.from_buffer_copy(data)

    def _store(self, copy: Any, *ranges: tuple[int, int]) -> None:
        """Write some bytes of a local copy: (offset, size) …"""
        data = bytes(copy)
        arguments: list[Any] = []
        for offset, size in ranges:
            arguments += [offset, data[offset : offset + size]]
        _WRITE(self._name, *arguments)

    @classmethod
    def _create(cls, local: Any, *parameters: Any) -> Any:
        made = reopen(cls, None, list(parameters))
        size = ctypes.sizeof(local)
        if size:
            made._store(local, (0, size))
        return made

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._type.__name__} at {id(self):#x}>"


class SharedValue(_Memory):
    """What `RawValue` returns for a simple type."""

    _kind = "rawvalue"

    @property
    def value(self) -> Any:
        """The value, as Python has it."""
        return self._load().value

    @value.setter
    def value(self, value: Any) -> None:
        self._store(self._type(value), (0, ctypes.sizeof(self._type)))


class SharedStructure(_Memory):
    """What `RawValue` returns for a structure or union: its fields are attributes."""

    _kind = "rawstructure"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        return getattr(self._load(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        field = getattr(self._type, name, None)
        if field is None:
            raise AttributeError(f"{self._type.__name__!r} has no field {name!r}")
        copy = self._load()
        setattr(copy, name, value)
        if field.size < 1 << 16:
            self._store(copy, (field.offset, field.size))
        else:  # a bit field: ctypes puts its width into the upper half
            self._store(copy, (0, ctypes.sizeof(copy)))


class SharedArray(_Memory):
    """What `RawArray` returns: fixed length, items, slices, iteration."""

    _kind = "rawarray"

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        item, length = parameters
        self._item = _SIMPLE[item] if isinstance(item, str) else item
        super()._open(name, self._item * length)

    def _parameters(self) -> list[Any]:
        return [_portable(self._item), len(self)]

    def __len__(self) -> int:
        return int(self._type._length_)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._load()[index]
        offset, size = self._where(index)
        return (self._item * 1).from_buffer_copy(_READ(self._name, offset, offset + size - 1))[0]

    def __setitem__(self, index: int | slice, value: Any) -> None:
        size = ctypes.sizeof(self._item)
        copy = self._type()
        if not isinstance(index, slice):
            offset, _ = self._where(index)
            copy[index] = value
            self._store(copy, (offset, size))
            return
        places = range(len(self))[index]
        copy[index] = value  # ctypes checks types and length
        if places.step == 1 and places:
            self._store(copy, (places[0] * size, len(places) * size))
        elif places:
            self._store(copy, *((place * size, size) for place in places))

    def _where(self, index: int) -> tuple[int, int]:
        place = index.__index__()
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError("invalid index")
        size = ctypes.sizeof(self._item)
        return place * size, size


class SharedString(SharedArray):
    """What `RawArray` returns for characters: a `value` that ends at the first zero, and `raw`."""

    _kind = "rawstring"

    @property
    def value(self) -> Any:
        """The characters up to the first zero."""
        return self._load().value

    @value.setter
    def value(self, value: Any) -> None:
        copy = self._type()
        copy.value = value
        # As in ctypes, what lies behind the new end stays.
        size = min(len(value) + 1, len(self)) * ctypes.sizeof(self._item)
        self._store(copy, (0, size))

    @property
    def raw(self) -> Any:
        """All the bytes."""
        return self._load().raw

    @raw.setter
    def raw(self, value: Any) -> None:
        copy = self._type()
        copy.raw = value
        self._store(copy, (0, len(value)))


def RawValue(typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802 - the standard library's name
    """A value of a C type without a lock, zero or made of the arguments."""
    kind = _find_type(typecode_or_type)
    return _share(kind(*args))


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:  # noqa: N802
    """An array of a C type without a lock: so many zeros, or the items given."""
    kind = _find_type(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _share((kind * size_or_initializer)())
    return _share((kind * len(size_or_initializer))(*size_or_initializer))


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:  # noqa: N802
    """A value of a C type with a lock; without one (the raw value) for ``lock=False``."""
    _check_lock(lock)
    value = RawValue(typecode_or_type, *args)
    return value if lock is False else synchronized(value, None if lock is True else lock)


def Array(  # noqa: N802
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None
) -> Any:
    """An array of a C type with a lock; without one (the raw array) for ``lock=False``."""
    _check_lock(lock)
    array = RawArray(typecode_or_type, size_or_initializer)
    return array if lock is False else synchronized(array, None if lock is True else lock)


def copy(obj: Any) -> Any:
    """A new shared object with the same content."""
    return _share(obj._load() if isinstance(obj, _Memory) else obj)


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """The shared object with a lock around it, a new `RLock` by default."""
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
    """A shared object and its lock; every access takes the lock."""

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


def _share(local: Any) -> Any:
    """A ctypes object, moved to Redis."""
    kind = type(local)
    _refuse_pointers(kind)
    if isinstance(local, ctypes.Array):
        is_text = kind._type_ in (ctypes.c_char, ctypes.c_wchar)
        of = SharedString if is_text else SharedArray
        return of._create(local, _portable(kind._type_), kind._length_)
    if isinstance(local, (ctypes.Structure, ctypes.Union)):
        return SharedStructure._create(local, kind)
    return SharedValue._create(local, _portable(kind))


def _portable(kind: Any) -> Any:
    """A simple type by its code; a class of somebody's module travels by its name."""
    code = getattr(kind, "_type_", None)
    return code if isinstance(code, str) else kind


def _refuse_pointers(kind: Any) -> None:
    if issubclass(kind, ctypes.Array):
        _refuse_pointers(kind._type_)
    elif issubclass(kind, (ctypes.Structure, ctypes.Union)):
        for _, field, *_ in kind._fields_:
            _refuse_pointers(field)
    elif getattr(kind, "_type_", None) not in _SIMPLE:
        raise TypeError(f"{kind.__name__} holds an address of this process, or is no ctypes type")


def _check_lock(lock: Any) -> None:
    if lock not in (True, False, None) and not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")

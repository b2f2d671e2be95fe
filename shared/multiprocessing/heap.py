"""``multiprocessing.heap``: the storage of shared C values and arrays.

The standard library stores them in mapped memory; this module stores them in Redis. Every access
reads or writes only the bytes that it needs.
"""

import ctypes
from typing import Any

from shared.handles.base import Handle, reopen
from shared.handles.scripts import Script
from shared.multiprocessing import live

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
# Simple types by their ctypes type code. A message contains the code instead of the class.
_SIMPLE: dict[str, Any] = {
    kind._type_: kind for kind in (*typecode_to_type.values(), ctypes.c_bool, ctypes.c_longdouble)
}

# arg: offset, bytes, offset, bytes …
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


class Memory(Handle):
    """The bytes of one C object."""

    _type: Any  # the ctypes class

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        (what,) = parameters
        self._type = _ctypes_class(what)
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [_portable(self._type)]

    def _load(self) -> Any:
        """Return a local copy as a ctypes object."""
        size = ctypes.sizeof(self._type)
        # An empty array has no bytes, and therefore no key in Redis.
        return self._type.from_buffer_copy(self._read(0, size))

    def _read(self, offset: int, size: int) -> bytes:
        return bytes(_READ(self._name, offset, offset + size - 1)) if size else b""

    def _write(self, offset: int, data: bytes) -> None:
        _WRITE(self._name, offset, data)

    def _store(self, copy: Any, *ranges: tuple[int, int]) -> None:
        """Write the ranges (offset, size) of a local copy."""
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


class SharedValue(Memory):
    """The result of `RawValue` for a simple type."""

    _kind = "rawvalue"

    @property
    def value(self) -> Any:
        """The value as a Python object."""
        return self._load().value

    @value.setter
    def value(self, value: Any) -> None:
        self._store(self._type(value), (0, ctypes.sizeof(self._type)))


class SharedStructure(Memory):
    """The result of `RawValue` for a structure or union. The fields are attributes."""

    _kind = "rawstructure"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        return getattr(live.view(self, 0, self._type), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if getattr(self._type, name, None) is None:
            raise AttributeError(f"{self._type.__name__!r} has no field {name!r}")
        setattr(live.view(self, 0, self._type), name, value)


class SharedArray(Memory):
    """The result of `RawArray`: an array of fixed length with items, slices and iteration."""

    _kind = "rawarray"

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        item, length = parameters
        self._item = _ctypes_class(item)
        super()._open(name, self._item * length)

    def _parameters(self) -> list[Any]:
        return [_portable(self._item), len(self)]

    def __len__(self) -> int:
        return int(self._type._length_)

    def __getitem__(self, index: int | slice) -> Any:
        if not isinstance(index, slice):
            return live.get(self, self._where(index)[0], self._item)
        if live.is_composite(self._item):
            return [self[place] for place in range(len(self))[index]]
        return self._load()[index]

    def __setitem__(self, index: int | slice, value: Any) -> None:
        size = ctypes.sizeof(self._item)
        copy = self._type()
        if not isinstance(index, slice):
            offset, _ = self._where(index)
            copy[index] = live.settle(value)
            self._store(copy, (offset, size))
            return
        places = range(len(self))[index]
        copy[index] = live.settle(value)  # ctypes checks types and length
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
    """The result of `RawArray` for characters. `value` ends at the first zero; `raw` does not."""

    _kind = "rawstring"

    @property
    def value(self) -> Any:
        """The characters up to the first zero."""
        return self._load().value

    @value.setter
    def value(self, value: Any) -> None:
        copy = self._type()
        copy.value = value
        # As in ctypes, the bytes after the new end stay unchanged.
        size = min(len(value) + 1, len(self)) * ctypes.sizeof(self._item)
        self._store(copy, (0, size))

    @property
    def raw(self) -> Any:
        """All bytes."""
        return self._load().raw

    @raw.setter
    def raw(self, value: Any) -> None:
        copy = self._type()
        copy.raw = value
        self._store(copy, (0, len(value)))


def share(local: Any) -> Any:
    """Copy a ctypes object to Redis. Returns the shared object."""
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
    """Return a simple type's code, an array type's [item type, length], or the class itself."""
    code = getattr(kind, "_type_", None)
    if issubclass(kind, ctypes.Array):
        return [_portable(code), kind._length_]
    return code if isinstance(code, str) else kind


def _ctypes_class(what: Any) -> Any:
    if isinstance(what, str):
        return _SIMPLE[what]
    if isinstance(what, list):
        item, length = what
        return _ctypes_class(item) * length
    return what


def _refuse_pointers(kind: Any) -> None:
    if issubclass(kind, ctypes.Array):
        _refuse_pointers(kind._type_)
    elif issubclass(kind, (ctypes.Structure, ctypes.Union)):
        for _, field, *_ in kind._fields_:
            _refuse_pointers(field)
    elif getattr(kind, "_type_", None) not in _SIMPLE:
        raise TypeError(f"{kind.__name__} contains a pointer, or is not a ctypes type")

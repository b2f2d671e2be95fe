"""Structures and arrays inside a shared C object: changing one changes the data in Redis.

An item of an array of structures, a structure inside a structure, and a row of a matrix are real
objects of their ctypes class, with the methods of that class. Reading a field reads its bytes from
Redis, and writing a field writes them. So ``for point in array: point.x **= 2`` works.
"""

import ctypes
import functools
import types
from typing import Any

_PLACE = "_shared_place"  # the shared object, and the offset of this part in it


def is_composite(kind: Any) -> bool:
    """True if values of a ctypes class have parts that can be changed one by one."""
    if issubclass(kind, ctypes.Array):
        return kind._type_ not in (ctypes.c_char, ctypes.c_wchar)
    return issubclass(kind, (ctypes.Structure, ctypes.Union))


def view(memory: Any, offset: int, kind: Any) -> Any:
    """The live object of a ctypes class at an offset of a shared object."""
    made = _live_class(kind)()
    made.__dict__[_PLACE] = memory, offset
    _refresh(made, memory, offset)  # `bytes(made)` and the like read the local bytes
    return made


def settle(value: Any) -> Any:
    """Refresh the local bytes of live objects in a value, because ctypes copies these bytes."""
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(one, (_Structure, _Array)):
            _refresh(one, *one.__dict__[_PLACE])
    return value


def get(memory: Any, offset: int, kind: Any) -> Any:
    """The value at an offset, as ctypes gives it: a Python value, or a live object."""
    if is_composite(kind):
        return view(memory, offset, kind)
    return (kind * 1).from_buffer_copy(memory._read(offset, ctypes.sizeof(kind)))[0]


@functools.lru_cache(maxsize=1_000)
def _live_class(kind: Any) -> Any:
    base = _Array if issubclass(kind, ctypes.Array) else _Structure
    return types.new_class(kind.__name__, (base, kind))


@functools.lru_cache(maxsize=1_000)
def fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The type of each field of a structure or union, and whether it is a bit field."""
    found: dict[str, tuple[Any, bool]] = {}
    for base in reversed(kind.__mro__):
        own = vars(base).get("_fields_", ())
        found.update((name, (type_, bool(bits))) for name, type_, *bits in own)
        for name in vars(base).get("_anonymous_", ()):
            found.update(fields(found[name][0]))
    return found


class _Structure:
    """A structure or union inside a shared object."""

    def __getattribute__(self, name: str) -> Any:
        get_own: Any = super().__getattribute__
        kind: Any = type(self)
        if name.startswith("__") or name not in (known := fields(kind)):
            return get_own(name)
        memory, offset = get_own("__dict__")[_PLACE]
        type_, _ = known[name]
        if is_composite(type_):
            return view(memory, offset + getattr(kind, name).offset, type_)
        _refresh(self, memory, offset)
        return get_own(name)

    def __setattr__(self, name: str, value: Any) -> None:
        kind: Any = type(self)
        known = fields(kind)
        if name not in known:
            super().__setattr__(name, value)
            return
        memory, offset = self.__dict__[_PLACE]
        type_, has_bits = known[name]
        if has_bits:  # neighbouring bit fields share these bytes
            _refresh(self, memory, offset)
        super().__setattr__(name, settle(value))  # ctypes checks it
        start = getattr(kind, name).offset
        data = bytes(self)[start : start + ctypes.sizeof(type_)]
        memory._write(offset + start, data)


class _Array:
    """An array inside a shared object."""

    _type_: Any
    _length_: int

    def __getitem__(self, index: Any) -> Any:
        memory, offset = self.__dict__[_PLACE]
        if isinstance(index, slice):
            if is_composite(self._type_):
                return [self[place] for place in range(self._length_)[index]]
            _refresh(self, memory, offset)
            return super().__getitem__(index)  # type: ignore[misc]
        place = _place(index, self._length_)
        return get(memory, offset + place * ctypes.sizeof(self._type_), self._type_)

    def __setitem__(self, index: Any, value: Any) -> None:
        memory, offset = self.__dict__[_PLACE]
        if not isinstance(index, slice):
            index = _place(index, self._length_)
        super().__setitem__(index, settle(value))  # type: ignore[misc]  # ctypes checks it
        places = range(self._length_)[index] if isinstance(index, slice) else (index,)
        size = ctypes.sizeof(self._type_)
        data = bytes(self)
        for place in places:
            memory._write(offset + place * size, data[place * size : (place + 1) * size])

    def __iter__(self) -> Any:
        return (self[place] for place in range(self._length_))


def _refresh(value: Any, memory: Any, offset: int) -> None:
    """Read the bytes of a live object from Redis."""
    size = ctypes.sizeof(value)
    ctypes.memmove(ctypes.addressof(value), memory._read(offset, size), size)


def _place(index: Any, length: int) -> int:
    place = int(index.__index__())
    place += length if place < 0 else 0
    if not 0 <= place < length:
        raise IndexError("invalid index")
    return place

"""Encodes a value as bytes. A value that holds one object twice goes to `shared.calls.graph`."""

import itertools
from collections.abc import Callable
from typing import Any

import msgpack

from shared.calls.describing import describe
from shared.calls.kinds import BY_TYPE, COPIES_BYTES, FILLED, PLAIN, check_depth
from shared.errors import MessageTooLarge, NotPortable


class Shared(Exception):
    """Raised when one object occurs twice: the value must be encoded as a graph."""


class Encoder:
    """Encodes one value at a time; each level of extensions has a packer of its own."""

    def __init__(self) -> None:
        self._packers: list[Any] = []  # their `pack`
        self._depth = 0
        self._limit = 0
        self._seen: set[int] = set()
        # Keep intermediate objects alive, so that no two of them have the same id.
        self._made: list[Any] = []
        self._mark = _marker(self._seen, self._extend)
        self._pack = self._packer()

    def encode(self, value: Any, limit: int) -> bytes:
        """The bytes of a value; after an error this encoder is not used again."""
        self._limit = limit
        data: bytes = self._pack(self._mark(value))
        self._seen.clear()
        if self._made:
            self._made.clear()
        if len(data) < _SPARE_BYTES and len(spare) < _SPARES:
            spare.append(self)
        return data

    def _packer(self) -> Callable[[Any], bytes]:
        packer = msgpack.Packer(
            default=self._extend, strict_types=True, unicode_errors="surrogatepass"
        )
        return packer.pack  # type: ignore[no-any-return]

    def _extend(self, inner: Any) -> msgpack.ExtType:
        kind = BY_TYPE.get(type(inner))
        if kind is not None:
            code, tracked, parts = kind.code, kind.tracked and inner, kind.parts(inner)
        else:
            code, tracked, parts, body = describe(inner)
            if code in FILLED:
                parts = [parts, body]
        if tracked:
            if id(inner) in self._seen:
                raise Shared
            self._seen.add(id(inner))
        self._made.append(parts)
        depth = self._depth
        if depth == len(self._packers):
            check_depth(depth + 1, 0)
            self._packers.append(self._packer())
        self._depth = depth + 1
        packed = self._packers[depth](self._mark(parts))
        self._depth = depth
        if len(packed) > self._limit:
            raise MessageTooLarge("the value", len(packed), self._limit)
        if (depth + 1) * len(packed) > COPIES_BYTES:
            check_depth(depth + 1, len(packed))
        return _extension(msgpack.ExtType, (code, packed))


# Makes an ExtType without the checks of its constructor.
_extension: Any = tuple.__new__


def _marker(seen: set[int], extend: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Makes extensions of mutable buffers, which msgpack itself would write as bytes.

    It also raises `Shared` when it meets a list or dict for the second time.
    """
    plain, all_plain, all_lists, note = PLAIN, PLAIN.issuperset, {list}.issuperset, seen.add

    def mark(value: Any) -> Any:
        kind = type(value)
        if kind is list or kind is dict:
            if id(value) in seen:
                raise Shared
            note(id(value))
            return inside(value) if value else value
        if kind is bytearray:
            return extend(value)
        if kind is msgpack.ExtType:
            raise NotPortable("an ExtType", "extension types are how this codec itself writes")
        if kind is memoryview:
            raise NotPortable("a memoryview", "it is a window on this process's memory; pass bytes")
        return value

    def inside(value: Any) -> Any:
        if type(value) is dict:
            if all_plain(map(type, value.values())) and all_plain(map(type, value)):
                return value
            return {
                key if type(key) in plain else mark(key): (
                    item if type(item) in plain else mark(item)
                )
                for key, item in value.items()
            }
        if all_plain(map(type, value)):
            return value
        if len(value) > 2 and all_lists(map(type, value)):  # rows: all are noted at once
            count = len(seen) + len(value)
            seen.update(map(id, value))
            if len(seen) != count:
                raise Shared
            if all_plain(map(type, itertools.chain.from_iterable(value))):
                return value
            return [inside(item) for item in value]
        return [item if type(item) in plain else mark(item) for item in value]

    return mark


# Idle encoders, kept because their packers have buffers already.
spare: list[Encoder] = []
_SPARES = 8
_SPARE_BYTES = 1 << 16

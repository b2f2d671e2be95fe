"""The built-in types that can be sent, and the encoding of each.

msgpack supports str, int, float, bool, bytes, None, list and dict. Every other built-in type is
an extension: a code, and parts that msgpack supports.
"""

import collections
import datetime
import decimal
import fractions
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import NotPortable
from shared.settings import current

# Computing the greatest common divisor of larger numbers takes seconds.
_FRACTION_BITS = 200_000


def _no_limit(value: Any) -> None:
    """Return None: most kinds have no size limit."""


@dataclass(frozen=True)
class Kind:
    """The encoding of one type: its ``code``, and the parts from which ``rebuild`` restores it.

    A mutable type that may contain itself also has ``empty`` and ``fill``. ``empty`` creates the
    value from its size limit (see ``limit``), and ``fill`` adds the parts.
    """

    code: int
    type: type
    parts: Callable[[Any], Any]
    rebuild: Callable[[Any], Any]
    # The type that the parts must have: few bytes could describe `tuple(range(10**9))`.
    wants: Any = list
    tracked: bool = False  # True if an object that occurs twice arrives as one object
    empty: Callable[[Any], Any] | None = None
    fill: Callable[[Any, Any], Any] | None = None
    limit: Callable[[Any], Any] = _no_limit


class TooDeep(ValueError):
    """Too many extensions are nested in each other."""


MAX_DEPTH = 100
# Each level of extensions copies its bytes.
_COPIES = 16
COPIES_BYTES = 1 << 28


def check_depth(depth: int, size_bytes: int) -> None:
    """Refuse extensions that are nested too deeply. Large contents allow fewer levels."""
    if depth > MAX_DEPTH:
        raise TooDeep
    copies = depth * size_bytes
    if copies > COPIES_BYTES and copies > _COPIES * current().message_limit_bytes:
        raise TooDeep


def check_keys(keys: Sequence[Any]) -> Sequence[Any]:
    """Refuse keys with colliding hashes, because building a dict of them takes hours."""
    if len(keys) > 256 and 8 * len(set(map(hash, keys))) < len(keys):
        raise NotPortable("a message", "its keys have few different hashes")
    return keys


def _datetime_parts(value: datetime.datetime) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo]


def _datetime_rebuild(parts: list[Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(parts[0]).replace(fold=parts[1], tzinfo=parts[2])


def _time_parts(value: datetime.time) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo]


def _time_rebuild(parts: list[Any]) -> datetime.time:
    return datetime.time.fromisoformat(parts[0]).replace(fold=parts[1], tzinfo=parts[2])


def _zone_parts(value: zoneinfo.ZoneInfo) -> str:
    if value.key is None:
        raise NotPortable(repr(value), "a time zone that was read from a file has no name")
    return value.key


def _integer(part: Any) -> int:
    if type(part) is not int:
        raise TypeError(f"{part!r} is not an integer")
    if part.bit_length() > _FRACTION_BITS:
        raise NotPortable("a fraction", f"it has more than {_FRACTION_BITS} bits")
    return part


def _fraction_parts(value: fractions.Fraction) -> list[int]:
    return [_integer(value.numerator), _integer(value.denominator)]


def _items(part: Any) -> list[Any]:
    if type(part) is not list:
        raise TypeError(f"{type(part).__name__} is not a list")
    return part


def _pairs(value: "collections.OrderedDict[Any, Any]") -> list[list[Any]]:
    return [list(pair) for pair in value.items()]


def _ordered(pairs: list[list[Any]]) -> "collections.OrderedDict[Any, Any]":
    check_keys([pair[0] for pair in pairs])
    return collections.OrderedDict(pairs)


KINDS = [
    Kind(1, tuple, list, tuple, tracked=True),
    Kind(
        2,
        set,
        list,
        lambda p: set(check_keys(p)),
        tracked=True,
        empty=lambda limit: set(),
        fill=lambda v, p: v.update(check_keys(p)),
    ),
    Kind(3, frozenset, list, lambda p: frozenset(check_keys(p)), tracked=True),
    Kind(4, complex, lambda v: [v.real, v.imag], lambda p: complex(p[0], p[1])),
    Kind(5, int, lambda v: f"{v:x}", lambda p: int(p, 16), wants=str),  # only beyond 64 bits
    Kind(6, bytearray, bytes, bytearray, wants=bytes, tracked=True),
    Kind(7, datetime.datetime, _datetime_parts, _datetime_rebuild),
    Kind(8, datetime.date, datetime.date.isoformat, datetime.date.fromisoformat, wants=str),
    Kind(9, datetime.time, _time_parts, _time_rebuild),
    Kind(
        10,
        datetime.timedelta,
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda p: datetime.timedelta(*p),
    ),
    Kind(
        11,
        datetime.timezone,
        lambda v: list(v.__getinitargs__()),
        lambda p: datetime.timezone(*p),
    ),
    Kind(12, zoneinfo.ZoneInfo, _zone_parts, zoneinfo.ZoneInfo, wants=str),
    Kind(13, decimal.Decimal, str, decimal.Decimal, wants=str),
    Kind(
        14,
        fractions.Fraction,
        _fraction_parts,
        lambda p: fractions.Fraction(_integer(p[0]), _integer(p[1])),
    ),
    Kind(15, uuid.UUID, lambda v: v.bytes, lambda p: uuid.UUID(bytes=p), wants=bytes),
    Kind(16, range, lambda v: [v.start, v.stop, v.step], lambda p: range(*p)),
    Kind(17, slice, lambda v: [v.start, v.stop, v.step], lambda p: slice(*p), tracked=True),
    Kind(
        18,
        collections.OrderedDict,
        _pairs,
        _ordered,
        tracked=True,
        empty=lambda limit: collections.OrderedDict(),
        fill=lambda v, p: v.update(_ordered(p)),
    ),
    Kind(
        19,
        collections.Counter,
        dict,
        collections.Counter,
        wants=dict,
        tracked=True,
        empty=lambda limit: collections.Counter(),
        fill=dict.update,
    ),
    Kind(
        20,
        collections.deque,
        lambda v: [list(v), v.maxlen],
        lambda p: collections.deque(_items(p[0]), p[1]),
        tracked=True,
        empty=lambda limit: collections.deque(maxlen=limit),
        fill=lambda v, p: v.extend(_items(p[0])),
        limit=lambda v: v.maxlen,
    ),
    Kind(21, pathlib.PosixPath, str, pathlib.PosixPath, wants=str),
    Kind(22, type(Ellipsis), lambda v: None, lambda p: Ellipsis, wants=type(None)),
    Kind(23, type(NotImplemented), lambda v: None, lambda p: NotImplemented, wants=type(None)),
]
BY_TYPE = {kind.type: kind for kind in KINDS}
BY_CODE = {kind.code: kind for kind in KINDS}
# The codes of values that are sent with a name. `KINDS` does not describe these.
ENUM, OBJECT, FUNCTION, ERROR, HANDLE = 40, 41, 42, 43, 44
PARTIAL, METHOD, VALUE, CALL, REGISTERED = 45, 46, 47, 48, 49
GRAPH, REFERENCE = 50, 51
PLAIN_OBJECT, NAMED_TUPLE = 52, 53
# These are created from a head, and then filled from a body that may contain the value itself.
FILLED = frozenset({OBJECT, VALUE, CALL, ERROR, PLAIN_OBJECT})

# Types that msgpack supports and that contain no other values.
PLAIN = frozenset({str, int, float, bool, bytes, type(None)})

"""What may travel: data, exactly as it was, never code and never pickle.

msgpack carries it. What msgpack would change on the way (a tuple into a list, a key's type)
goes as an extension type of ours, so that everything arrives as it left or is refused here,
at the call, with the reason. Classes travel by name, as `shared.calls.references` allows.

What is not kept: two references to one object arrive as two equal objects.
"""

import collections
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import types
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from shared.calls import exceptions, harmless, references
from shared.errors import MessageTooLarge, NotAllowed, NotPortable
from shared.handles import base
from shared.settings import current

_MAX_DEPTH = 100


@dataclass(frozen=True)
class _Kind:
    """How one type travels: as ``code`` and the parts that ``rebuild`` takes."""

    code: int
    type: type
    parts: Callable[[Any], Any]
    rebuild: Callable[[Any], Any]
    # What the parts must be when they arrive: `tuple(range(10**9))` is made of a few bytes.
    wants: Any = list  # a type


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
        raise NotPortable(repr(value), "a time zone made from a file has no name")
    return value.key


def _integer(part: Any) -> int:
    if type(part) is not int:
        raise TypeError(f"{part!r} is not an integer")
    return part


def _items(part: Any) -> list[Any]:
    if type(part) is not list:
        raise TypeError(f"{type(part).__name__} is not a list")
    return part


_KINDS = [
    _Kind(1, tuple, list, tuple),
    _Kind(2, set, list, set),
    _Kind(3, frozenset, list, frozenset),
    _Kind(4, complex, lambda v: [v.real, v.imag], lambda p: complex(p[0], p[1])),
    _Kind(5, int, lambda v: f"{v:x}", lambda p: int(p, 16), wants=str),  # only beyond 64 bits
    _Kind(6, bytearray, bytes, bytearray, wants=bytes),
    _Kind(7, datetime.datetime, _datetime_parts, _datetime_rebuild),
    _Kind(8, datetime.date, datetime.date.isoformat, datetime.date.fromisoformat, wants=str),
    _Kind(9, datetime.time, _time_parts, _time_rebuild),
    _Kind(
        10,
        datetime.timedelta,
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda p: datetime.timedelta(*p),
    ),
    _Kind(
        11,
        datetime.timezone,
        lambda v: list(v.__getinitargs__()),
        lambda p: datetime.timezone(*p),
    ),
    _Kind(12, zoneinfo.ZoneInfo, _zone_parts, zoneinfo.ZoneInfo, wants=str),
    _Kind(13, decimal.Decimal, str, decimal.Decimal, wants=str),
    _Kind(
        14,
        fractions.Fraction,
        lambda v: [v.numerator, v.denominator],
        lambda p: fractions.Fraction(_integer(p[0]), _integer(p[1])),
    ),
    _Kind(15, uuid.UUID, lambda v: v.bytes, lambda p: uuid.UUID(bytes=p), wants=bytes),
    _Kind(16, range, lambda v: [v.start, v.stop, v.step], lambda p: range(*p)),
    _Kind(17, slice, lambda v: [v.start, v.stop, v.step], lambda p: slice(*p)),
    _Kind(
        18, collections.OrderedDict, lambda v: [list(i) for i in v.items()], collections.OrderedDict
    ),
    _Kind(19, collections.Counter, dict, collections.Counter, wants=dict),
    _Kind(
        20,
        collections.deque,
        lambda v: [list(v), v.maxlen],
        lambda p: collections.deque(_items(p[0]), p[1]),
    ),
    _Kind(21, pathlib.PosixPath, str, pathlib.PosixPath, wants=str),
    _Kind(22, type(Ellipsis), lambda v: None, lambda p: Ellipsis, wants=type(None)),
    _Kind(23, type(NotImplemented), lambda v: None, lambda p: NotImplemented, wants=type(None)),
]
_BY_TYPE = {kind.type: kind for kind in _KINDS}
_BY_CODE = {kind.code: kind for kind in _KINDS}
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_ENUM, _OBJECT, _FUNCTION, _ERROR, _HANDLE = 40, 41, 42, 43, 44
_PARTIAL, _METHOD = 45, 46


def dumps(value: Any, *, what: str = "the value") -> bytes:
    """The value as bytes; `NotPortable`, `NotAllowed` or `MessageTooLarge` when it can't be."""
    try:
        data = _pack(value, 0)
    except MessageTooLarge as error:
        raise MessageTooLarge(what, error.size_bytes, error.limit_bytes) from None
    except (ValueError, OverflowError, RecursionError) as error:
        # msgpack's word for a value that holds itself, or is nested beyond reason.
        raise NotPortable(what, f"it is nested too deeply or holds itself ({error})") from None
    limit = current().message_limit_bytes
    if len(data) > limit:
        raise MessageTooLarge(what, len(data), limit)
    return data


def loads(data: bytes) -> Any:
    """What `dumps` was given; `NotPortable` or `NotAllowed` for bytes that it never made."""
    limit = current().message_limit_bytes
    if len(data) > limit:
        raise MessageTooLarge("a message", len(data), limit)
    try:
        return _unpack(data, 0)
    except (NotPortable, NotAllowed):
        raise
    except Exception as error:
        # Whatever the bytes are, they get one clear refusal.
        raise NotPortable("a message", f"its bytes are damaged ({type(error).__name__})") from None


def _pack(value: Any, depth: int) -> bytes:
    if depth > _MAX_DEPTH:
        raise ValueError("recursion limit exceeded")

    def extend(inner: Any) -> msgpack.ExtType:
        kind = _BY_TYPE.get(type(inner))
        if kind is not None:
            return msgpack.ExtType(kind.code, _pack(kind.parts(inner), depth + 1))
        code, parts = _by_name(inner)
        return msgpack.ExtType(code, _pack(parts, depth + 1))

    packed: bytes = msgpack.packb(
        _mark(value), default=extend, strict_types=True, unicode_errors="surrogatepass"
    )
    if len(packed) > (limit := current().message_limit_bytes):
        # Early: a value that holds another twice, that holds another twice, grows for ever.
        raise MessageTooLarge("the value", len(packed), limit)
    return packed


def _mark(value: Any) -> Any:
    """The value with its mutable buffers as extensions: msgpack alone makes bytes of them."""
    kind = type(value)
    if kind is list:
        if _PLAIN.issuperset(map(type, value)):
            return value
        return [_mark(item) for item in value]
    if kind is dict:
        if _PLAIN.issuperset(map(type, value.values())) and _PLAIN.issuperset(map(type, value)):
            return value
        return {_mark(key): _mark(item) for key, item in value.items()}
    if kind is bytearray:
        return msgpack.ExtType(6, _pack(bytes(value), 0))
    if kind is msgpack.ExtType:
        raise NotPortable("an ExtType", "extension types are how this codec itself writes")
    if kind is memoryview:
        raise NotPortable("a memoryview", "it is a window on this process's memory; pass bytes")
    return value


def _by_name(value: Any) -> tuple[int, Any]:
    """What travels as the name of a class or function, and its state."""
    if hasattr(type(value), "__handle__"):
        return _HANDLE, value.__handle__()
    if isinstance(value, enum.Enum):
        # A combination of flags has no name of its own: it goes by its value.
        single = value.name in type(value).__members__
        member = value.name if single else value.value
        return _ENUM, [references.reference(type(value)), single, member]
    if isinstance(value, functools.partial):
        return _PARTIAL, [value.func, list(value.args), dict(value.keywords)]
    if isinstance(value, (types.MethodType, types.BuiltinMethodType)):
        return _bound(value)
    if isinstance(value, BaseException):
        return _ERROR, exceptions.parts(value)
    if (
        isinstance(value, type)
        or (callable(value) and hasattr(value, "__qualname__"))
        or harmless.name_of(value) is not None  # a ufunc has no qualname
    ):
        return _FUNCTION, references.reference(value)
    kind = type(value)
    if kind.__module__.partition(".")[0] in ("_io", "io", "socket", "ssl"):
        raise NotPortable(
            f"{_short(value)} of type {kind.__name__}",
            "it is open in this process only; pass its path or address, and open it there",
        )
    if kind.__module__ in ("_thread", "threading", "queue", "_queue", "_multiprocessing"):
        raise NotPortable(
            f"{_short(value)} of type {kind.__name__}",
            "it works in this process only; shared.multiprocessing has one that works everywhere",
        )
    if kind.__module__ == "builtins":
        raise NotPortable(
            f"{_short(value)} of type {kind.__name__}",
            "it is bound to this process; pass plain data, or a name to open it by",
        )
    name = references.reference(kind)
    if _overrides(kind, "__reduce__") or _overrides(kind, "__reduce_ex__"):
        raise NotPortable(
            f"{_short(value)} of type {kind.__qualname__}",
            "its class says how to pickle it, and no pickle travels here",
        )
    if isinstance(value, tuple) and not getattr(value, "__dict__", None):  # a named tuple
        return _OBJECT, [name, list(value), None]
    if isinstance(value, (tuple, list, set, frozenset, dict, str, bytes, int, float)):
        raise NotPortable(
            f"{_short(value)} of type {kind.__qualname__}",
            f"subclasses of {kind.__mro__[-2].__name__} do not travel; pass the plain type",
        )
    return _OBJECT, [name, None, _state(value)]


def _bound(value: Any) -> tuple[int, Any]:
    """A bound method: its object and its name, or a reference where its object is a module."""
    if (listed := harmless.name_of(value)) is not None:
        return _FUNCTION, listed
    if isinstance(value, types.MethodType):
        function = value.__func__
        references.check_allowed(f"{references.home(function)}:{function.__qualname__}")
        return _METHOD, [value.__self__, function.__name__]
    if harmless.method_of(value.__self__, value.__name__):
        return _METHOD, [value.__self__, value.__name__]
    return _FUNCTION, references.reference(value)


def _overrides(kind: type, method: str) -> bool:
    return getattr(kind, method) is not getattr(object, method)


def _state(value: Any) -> Any:
    """The state that `copyreg` would take: ``__getstate__``, or what lies in the object."""
    state = value.__getstate__()
    if state is None or isinstance(state, dict) or _overrides(type(value), "__getstate__"):
        return state
    return list(state)  # (dict or None, slots)


def _unpack(data: bytes, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")

    def rebuild(code: int, inner: bytes) -> Any:
        parts = _unpack(inner, depth + 1)
        kind = _BY_CODE.get(code)
        if kind is not None:
            if type(parts) is not kind.wants:
                raise NotPortable("a message", f"its {kind.type.__name__} is no such thing")
            return kind.rebuild(parts)
        if code == _ENUM:
            return _member(*parts)
        if code == _FUNCTION:
            return references.resolve(parts)
        if code == _OBJECT:
            return _construct(*parts)
        if code == _PARTIAL:
            return functools.partial(parts[0], *parts[1], **parts[2])
        if code == _METHOD:
            return _method(*parts)
        if code == _ERROR:
            return exceptions.rebuild(*parts)
        if code == _HANDLE:
            return base.rebuild(*parts)
        raise NotPortable("a message", f"it has an unknown extension {code}")

    return msgpack.unpackb(
        data, ext_hook=rebuild, strict_map_key=False, unicode_errors="surrogatepass"
    )


def _construct(name: str, items: list[Any] | None, state: Any) -> Any:
    """An object of an allow-listed class with its state, its ``__init__`` not called."""
    cls = references.resolve(name)
    if not isinstance(cls, type):
        raise NotPortable(repr(name), "it is not a class")
    if items is not None:
        return tuple.__new__(cls, items)
    make: Any = cls.__new__
    value: Any = make(cls)
    if hasattr(value, "__setstate__"):
        value.__setstate__(state)
        return value
    attributes, slots = state if isinstance(state, list) else (state, None)
    if attributes:
        value.__dict__.update(attributes)
    for slot, content in (slots or {}).items():
        object.__setattr__(value, slot, content)
    return value


def _member(name: str, single: bool, member: Any) -> enum.Enum:
    cls = references.resolve(name)
    if not (isinstance(cls, type) and issubclass(cls, enum.Enum)):
        raise NotPortable(repr(name), "it is not an Enum")
    found: enum.Enum = cls[member] if single else cls(member)
    return found


def _method(owner: Any, name: str) -> Any:
    """A bound method; its function must be defined in an allowed module, like any other."""
    if harmless.method_of(owner, name):
        return getattr(owner, name)
    method = getattr(owner, name)
    if not isinstance(method, types.MethodType):
        raise NotPortable(repr(name), "it is not a method")
    function = method.__func__
    references.check_allowed(f"{references.home(function)}:{function.__qualname__}")
    return method


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."

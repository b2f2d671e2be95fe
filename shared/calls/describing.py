"""Chooses how a value is written: a code for its kind, a head to make it, a body to fill it."""

import enum
import functools
import types
from typing import Any

from shared.calls import exceptions, harmless, objects, references, registration, values
from shared.calls.kinds import (
    BY_TYPE,
    CALL,
    ENUM,
    ERROR,
    FILLED,
    FUNCTION,
    HANDLE,
    METHOD,
    NAMED_TUPLE,
    OBJECT,
    PARTIAL,
    PLAIN_OBJECT,
    REGISTERED,
    VALUE,
)
from shared.errors import NotPortable, short


def parts_of(value: Any) -> tuple[int, bool, Any, Any, bool]:
    """A value that is neither plain, list nor dict: code, tracked, head, body, whether filled."""
    kind = BY_TYPE.get(type(value))
    if kind is None:
        code, tracked, head, body = describe(value)
        return code, tracked, head, body, code in FILLED
    tracked = kind.tracked and bool(value)
    if kind.fill is None:
        return kind.code, tracked, kind.parts(value), None, False
    return kind.code, tracked, kind.limit(value), kind.parts(value), False


def describe(value: Any) -> tuple[int, bool, Any, Any]:
    """What travels as the name of a class, function or kind: code, tracked, head and body."""
    kind: Any = type(value)
    if (registered := registration.find(kind)) is not None:
        return REGISTERED, True, registered.encode(value), None
    route, special = _route(kind)
    if route == OBJECT and (not special or not _has_name(value)):
        _refuse_local(value)
        if objects.is_plain(kind):
            return PLAIN_OBJECT, True, objects.class_name(kind), objects.state_of(value)
        if objects.is_named_tuple(value):
            return NAMED_TUPLE, True, [objects.class_name(kind), list(value)], None
        called, head, body = objects.describe(value)
        return CALL if called else OBJECT, True, head, body
    if route == OBJECT:
        return FUNCTION, False, references.reference(value), None
    if route == HANDLE:
        return HANDLE, True, value.__handle__(), None
    if route == ENUM:
        # A combination of flags has no name of its own: it goes by its value.
        single = value.name in kind.__members__
        member = value.name if single else value.value
        return ENUM, False, [objects.class_name(kind), single, member], None
    if route == ERROR:
        module, name, args, state, by_call = exceptions.parts(value)
        return ERROR, True, [module, name, args, by_call], state
    if route == VALUE:
        body = special.body(value) if special.body else None
        return VALUE, special.tracked, [special.type, special.head(value)], body
    if route == PARTIAL:
        return PARTIAL, True, [value.func, list(value.args), dict(value.keywords)], None
    code, head = _bound(value)
    return code, False, head, None


@functools.lru_cache(maxsize=1_000)
def _route(kind: Any) -> tuple[int, Any]:
    """What the class alone tells: the code, and for a special kind of value how it travels.

    For an object it is whether the object may be a function or class, which only it can tell.
    """
    if hasattr(kind, "__handle__"):
        return HANDLE, None
    if issubclass(kind, enum.Enum):
        return ENUM, None
    if issubclass(kind, BaseException):
        return ERROR, None
    if (special := values.find(kind)) is not None:
        return VALUE, special
    if issubclass(kind, functools.partial):
        return PARTIAL, None
    if issubclass(kind, (types.MethodType, types.BuiltinMethodType)):
        return METHOD, None
    return OBJECT, hasattr(kind, "__call__")  # noqa: B004 - of its instances


def _has_name(value: Any) -> bool:
    """Whether a value is a function or class; a ufunc has no qualname."""
    return (
        isinstance(value, type)
        or (callable(value) and hasattr(value, "__qualname__"))
        or harmless.name_of(value) is not None
    )


def _bound(value: Any) -> tuple[int, Any]:
    """A bound method: its object and its name, or a reference where its object is a module."""
    if (listed := harmless.name_of(value)) is not None:
        return FUNCTION, listed
    if isinstance(value, types.MethodType):
        function = value.__func__
        references.check_allowed(f"{references.home(function)}:{function.__qualname__}")
        return METHOD, [value.__self__, function.__name__]
    if harmless.method_of(value.__self__, value.__name__):
        return METHOD, [value.__self__, value.__name__]
    return FUNCTION, references.reference(value)


def _refuse_local(value: Any) -> None:
    """Refuse a value that works only in this process."""
    kind: Any = type(value)
    if reason := _reason(kind):
        raise NotPortable(f"{short(value, 60, shown=_in_one_line)} of type {kind.__name__}", reason)


@functools.lru_cache(maxsize=1_000)
def _reason(kind: Any) -> str:
    """Why values of a class work only in one process, or an empty text if they may travel."""
    reason = ""
    if kind.__module__.partition(".")[0] in ("_io", "io", "socket", "ssl", "tempfile"):
        reason = "it is open in this process only; pass its path or address, and open it there"
    elif kind.__module__ in ("_thread", "threading", "queue", "_queue", "_multiprocessing"):
        reason = (
            "it works in this process only; shared.multiprocessing has one that works everywhere"
        )
    elif issubclass(kind, types.ModuleType):
        reason = "a module is code; import it inside the function"
    elif issubclass(kind, (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)):
        reason = "a generator is code that has begun to run; pass list(…) of it, or what makes it"
    elif kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__next__"):
        reason = "an iterator is bound to this process; pass a list"
    elif kind.__module__ == "builtins":
        reason = "it is bound to this process; pass plain data, or a name to open it by"
    return reason


def _in_one_line(value: Any) -> str:
    return " ".join(repr(value).split())

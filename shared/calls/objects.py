"""Encodes an object as the name of its class and the object's state as data.

The class must come from an allowed module. The state is the one that `copyreg` would save. If the
class defines ``__reduce__`` (or is registered with `copyreg`), the function or class that rebuilds
the object must be allowed too. Of the standard library, only the classes in `_CLASSES` are
allowed, because creating one of their objects runs no other code.
"""

import copyreg
import enum
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

from shared.calls import references
from shared.errors import NotAllowed, NotPortable

# Classes of the standard library: plain objects, named tuples and enums.
_CLASSES = """
    argparse:Namespace calendar:Day calendar:Month collections:ChainMap collections:UserDict
    collections:UserList collections:UserString concurrent.futures._base:DoneAndNotDoneFutures
    decimal:DecimalTuple difflib:Match functools:_CacheInfo http:HTTPMethod http:HTTPStatus
    inspect:_ParameterKind logging:LogRecord logging:LoggerAdapter optparse:Values
    re:RegexFlag signal:Handlers signal:Sigmasks signal:Signals
    socket:AddressFamily socket:AddressInfo socket:MsgFlag socket:SocketKind ssl:TLSVersion
    statistics:LinearRegression statistics:NormalDist string:Template
    subprocess:CompletedProcess textwrap:TextWrapper tokenize:TokenInfo
    types:SimpleNamespace urllib.parse:DefragResult urllib.parse:DefragResultBytes
    urllib.parse:ParseResult urllib.parse:ParseResultBytes urllib.parse:SplitResult
    urllib.parse:SplitResultBytes uuid:SafeUUID xml.etree.ElementTree:Element
    xml.etree.ElementTree:ElementTree zipfile:ZipInfo
"""
CLASSES = frozenset(_CLASSES.split())
_MODULES = frozenset(name.partition(":")[0] for name in CLASSES)
_BASES: tuple[Any, ...] = (tuple, str, bytes, int, float, complex)


def class_name(kind: type) -> str:
    """Return the reference of a class. Raises if its objects cannot be sent."""
    if kind.__module__ in _MODULES:
        name = f"{kind.__module__}:{kind.__qualname__}"
        if name in CLASSES:
            return name
    return references.reference(kind)


def find_class(name: str) -> type:
    """Return the class that a reference names, from ``TASK_MODULES`` or `CLASSES`."""
    if name in CLASSES:
        module, _, qualname = name.partition(":")
        __import__(module)
        found = getattr(sys.modules[module], qualname, None)
    else:
        found = references.resolve(name, listed=False)
    if not isinstance(found, type):
        raise NotPortable(repr(name), "it is not a class")
    return found


def is_plain(kind: type) -> bool:
    """True if an object can be rebuilt from its state alone."""
    return kind not in copyreg.dispatch_table and _is_plain(kind)


@functools.lru_cache(maxsize=1_000)
def _is_plain(kind: Any) -> bool:
    return (
        kind.__reduce__ is object.__reduce__
        and kind.__reduce_ex__ is object.__reduce_ex__
        and not issubclass(kind, (*_BASES, list, dict, set, frozenset, bytearray))
        and not hasattr(kind, "__getnewargs__")
        and not hasattr(kind, "__getnewargs_ex__")
    )


def is_named_tuple(value: Any) -> bool:
    """True if a value is a named tuple without extra attributes."""
    kind = type(value)
    return (
        issubclass(kind, tuple)
        and hasattr(kind, "_fields")
        and not getattr(value, "__dict__", None)
    )


def describe(value: Any) -> tuple[bool, Any, Any]:
    """Return (True if a call rebuilds the object, the head, the body)."""
    kind = type(value)
    reducer = copyreg.dispatch_table.get(kind)
    try:
        reduced: Any = reducer(value) if reducer else value.__reduce_ex__(4)
    except Exception as error:
        # A class that cannot be copied raises TypeError, NotImplementedError …
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise NotPortable(
            f"an object of {kind.__module__}.{kind.__qualname__}", f"its class refuses ({reason})"
        ) from error
    if isinstance(reduced, str):
        return True, [f"{references.home(value)}:{reduced}"], None
    parts: list[Any] = [*reduced, None, None, None, None][:6]
    made_of, args, state, items, pairs, setter = parts
    args = list(args)
    if setter is not None:
        raise NotPortable(f"an object of {kind.__qualname__}", "a state setter is not supported")
    body = [
        list(state) if _is_slots(value, state) else state,
        None if items is None else list(items),
        None if pairs is None else [list(pair) for pair in pairs],
    ]
    filled = None if body == [None, None, None] else body
    name = getattr(made_of, "__name__", "")
    if name in ("__newobj__", "__newobj_ex__", "_reconstructor"):
        made_of, *args = args
        if name == "_reconstructor":
            if args[0] is not object:
                raise _unregistered(kind, "copyreg._reconstructor")
            args = []
        elif name == "__newobj_ex__":
            args = [list(args[0]), args[1]]
            return False, [class_name(made_of), *args], filled
        if isinstance(value, tuple) and (
            hasattr(kind, "_fields") or made_of.__new__ is tuple.__new__
        ):
            args = [list(value)]
        return False, [class_name(made_of), args], filled
    return True, [_allowed_name(made_of, kind), args], filled


def _is_slots(value: Any, state: Any) -> bool:
    return isinstance(state, tuple) and len(state) == 2 and not hasattr(value, "__setstate__")


def _allowed_name(target: Any, kind: type) -> str:
    """Return the reference of the function that rebuilds an object, from ``TASK_MODULES``."""
    if f"{kind.__module__}:{kind.__qualname__}" in CLASSES and target is kind:
        return class_name(kind)
    try:
        name = references.reference(target)
        references.check_allowed_module(name)
    except (NotAllowed, NotPortable):
        made_by = getattr(target, "__qualname__", type(target).__qualname__)
        raise _unregistered(kind, f"{getattr(target, '__module__', '')}.{made_by}") from None
    return name


def _unregistered(kind: type, made_by: str) -> NotPortable:
    return NotPortable(
        f"an object of {kind.__module__}.{kind.__qualname__}",
        f"{made_by} makes it again, which no module of TASK_MODULES defines; "
        "register how it travels (shared.calls.registration)",
    )


def state_of(value: Any) -> Any:
    """Return the state that `copyreg` would save: ``__getstate__``'s result or the attributes."""
    state = value.__getstate__()
    if state is None or isinstance(state, dict):
        return state
    if _has_own_getstate(type(value)):
        return state
    return list(state)  # (dict or None, slots)


def _has_own_getstate(kind: Any) -> bool:
    return kind.__getstate__ is not object.__getstate__


def make(head: list[Any]) -> Any:
    """Return an object without its state. Does not call ``__init__``."""
    cls = find_class(head[0])
    args = head[1] if len(head) > 1 else []
    kwargs = head[2] if len(head) > 2 else {}
    if issubclass(cls, (enum.Enum, type)):
        raise NotPortable(repr(head[0]), "a message must not create an enum member or a class")
    new: Callable[..., Any] = cls.__new__
    if not args and not kwargs:
        return new(cls)
    if issubclass(cls, tuple) and (hasattr(cls, "_fields") or new is tuple.__new__):
        return tuple.__new__(cls, _only(args, list))
    for base in _BASES:
        if new is base.__new__:
            return new(cls, *(args if base is complex else [_only(args, base)]))
    if new is object.__new__:  # it ignores arguments that are for `__init__`
        return new(cls)
    if not isinstance(new, types.FunctionType):
        raise TypeError(f"{cls.__name__} takes no arguments")
    return new(cls, *args, **kwargs)


def make_plain(name: Any) -> Any:
    """Return an empty object of a class."""
    cls = find_class(name)
    new: Callable[..., Any] = cls.__new__
    return new(cls)


def make_named_tuple(parts: list[Any]) -> Any:
    """Return a named tuple from its class name and items."""
    name, items = parts
    if type(items) is not list:
        raise TypeError("a tuple is made of a list")
    return tuple.__new__(find_class(name), items)


def _only(args: list[Any], kind: type) -> Any:
    """Return the only argument if its type is `kind`: `bytes(10**9)` would fill the memory."""
    (arg,) = args
    if type(arg) is not kind:
        raise TypeError(f"{type(arg).__name__} is not {kind.__name__}")
    return arg


def call(head: list[Any]) -> Any:
    """Return the object that an allowed name stands for, or that calling it returns."""
    name, *rest = head
    if name in CLASSES:
        if rest != [[]]:
            raise TypeError(f"{name} takes no arguments")
        return find_class(name)()
    references.check_allowed_module(name)
    target = references.resolve(name)
    if not rest:
        return target
    if isinstance(target, type) and issubclass(target, (bytes, bytearray)):
        return target(_only(rest[0], bytes))
    return target(*rest[0])


def fill(value: Any, body: list[Any]) -> None:
    """Set an object's state, items and pairs, as `pickle` does."""
    state, items, pairs = body
    if items is not None:
        value.extend(items) if hasattr(value, "extend") else [value.append(i) for i in items]
    for key, item in pairs or ():
        value[key] = item
    set_state(value, state)


def set_state(value: Any, state: Any) -> None:
    """Set an object's state, as `pickle` does."""
    if hasattr(value, "__setstate__"):
        if state is not None:
            value.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, list) else (state, None)
    if attributes:
        value.__dict__.update(attributes)
    for slot, content in (slots or {}).items():
        if slot.startswith("__"):
            raise NotPortable("a message", f"{slot!r} is not an allowed slot name")
        object.__setattr__(value, slot, content)

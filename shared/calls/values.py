"""Encodes types of the standard library and of a few other libraries that need special handling.

A value is written as the name of its kind, a head that creates it, and, if it can contain itself,
a body that fills it. All names are in the table below. A message with any other name is refused:
nothing is looked up, imported or evaluated for it. Each `make` function first checks that the
parts have the right types, and that a few bytes do not describe a large value.
"""

import array
import collections
import functools
import importlib
import io
import logging
import operator
import os
import pathlib
import random
import re
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.errors import NotPortable


@dataclass(frozen=True)
class Value:
    """The encoding of one kind of value."""

    type: str  # "module:qualname"
    head: Callable[[Any], Any]
    make: Callable[[Any], Any]
    body: Callable[[Any], Any] | None = None
    fill: Callable[[Any, Any], Any] | None = None
    tracked: bool = False  # True if an object that occurs twice arrives as one object


def of_type(part: Any, kind: Any) -> Any:
    """Return the part. Raises `TypeError` if its type is not exactly `kind`."""
    if type(part) is not kind:
        raise TypeError(f"{type(part).__name__} is not {kind.__name__}")
    return part


# Limit the pattern, because long patterns take long to compile.
_PATTERN_LIMIT = 100_000


def _pattern_head(value: "re.Pattern[Any]") -> list[Any]:
    if len(value.pattern) > _PATTERN_LIMIT:
        raise NotPortable("a pattern", f"it is longer than {_PATTERN_LIMIT:,} characters")
    return [value.pattern, value.flags]


def _pattern(head: list[Any]) -> "re.Pattern[Any]":
    pattern, flags = head
    if len(pattern) > _PATTERN_LIMIT or of_type(flags, int) & re.DEBUG:
        raise ValueError("the pattern is too long, or has the flag DEBUG")
    return re.compile(pattern, flags)


def _array_head(value: "array.array[Any]") -> list[Any]:
    return [value.typecode, value.itemsize, sys.byteorder, value.tobytes()]


def _array(head: list[Any]) -> "array.array[Any]":
    typecode, itemsize, order, data = head
    made: array.array[Any] = array.array(typecode)
    if made.itemsize != itemsize:
        raise NotPortable("an array", f"its items {typecode!r} have another size on this machine")
    made.frombytes(of_type(data, bytes))
    if order != sys.byteorder:
        made.byteswap()
    return made


def _bytesio(head: list[Any]) -> Any:
    data, position, attributes = head
    made: Any = io.BytesIO()
    made.__setstate__((of_type(data, bytes), position, attributes))
    return made


def _stringio(head: list[Any]) -> Any:
    text, newline, position, attributes = head
    made: Any = io.StringIO()
    made.__setstate__((of_type(text, str), newline, position, attributes))
    return made


def _random(head: list[Any]) -> random.Random:
    version, internal, gauss = head
    made = random.Random.__new__(random.Random)
    made.setstate((version, tuple(of_type(internal, list)), gauss))
    return made


def _random_head(value: random.Random) -> list[Any]:
    version, internal, gauss = value.getstate()
    return [version, list(internal), gauss]


def _getter_head(value: Any) -> list[Any]:
    return list(value.__reduce__()[1])


# Attributes that give access to the code or the variables of a program.
_FRAMES = frozenset(
    [
        "ag_await",
        "ag_code",
        "ag_frame",
        "co_consts",
        "cr_await",
        "cr_code",
        "cr_frame",
        "f_back",
        "f_builtins",
        "f_code",
        "f_globals",
        "f_locals",
        "func_code",
        "func_globals",
        "gi_code",
        "gi_frame",
        "gi_yieldfrom",
        "tb_frame",
        "tb_next",
    ]
)


def _attrgetter(names: list[Any]) -> Any:
    for name in names:
        parts = of_type(name, str).split(".")
        if any(part.startswith("__") or part in _FRAMES for part in parts):
            raise NotPortable(f"attrgetter({name!r})", "it leads to code or to variables")
    return operator.attrgetter(*names)


def _attrgetter_head(value: Any) -> list[Any]:
    names = _getter_head(value)
    _attrgetter(names)
    return names


_METHODS = frozenset(
    name
    for kind in (str, bytes, bytearray, list, tuple, dict, set, frozenset, int, float, complex)
    for name in dir(kind)
    if not name.startswith("_") and not name.startswith("format")
) | {"isoformat", "strftime", "date", "timestamp", "total_seconds", "weekday", "most_common"}


def _methodcaller(head: list[Any]) -> Any:
    """Allow only methods of built-in types: `methodcaller("unlink")` would delete a file."""
    name, args, kwargs = head
    moves = name == "replace" and (len(args) == 1 or "target" in kwargs)  # `Path.replace`
    if name not in _METHODS or moves:
        raise NotPortable(
            f"methodcaller({name!r})", "only harmless methods of built-in types are allowed"
        )
    return operator.methodcaller(name, *of_type(args, list), **kwargs)


def _methodcaller_head(value: Any) -> list[Any]:
    make, args = value.__reduce__()
    kwargs: dict[str, Any] = {}
    if isinstance(make, functools.partial):  # with keywords
        args, kwargs = make.args + tuple(args), dict(make.keywords)
    name, *rest = args
    _methodcaller([name, rest, kwargs])
    return [name, rest, kwargs]


def _defaultdict(factory: Any) -> "collections.defaultdict[Any, Any]":
    return collections.defaultdict(factory)


def _sequence(kind: Any) -> Value:
    """Return the encoding of a named tuple of `os` or `time`."""

    def make(head: list[Any]) -> Any:
        items, more = head
        return kind(tuple(of_type(items, list)), of_type(more, dict))

    def take(value: Any) -> list[Any]:
        items, more = value.__reduce__()[1]
        return [list(items), more]

    return Value(f"{kind.__module__}:{kind.__qualname__}", take, make)


def _named(kind: Any, limit: int = 4_096) -> Value:
    """Return the encoding of a type that can be rebuilt from its text."""

    def make(text: Any) -> Any:
        if len(of_type(text, str)) > limit:
            raise ValueError("the text is too long")
        return kind(text)

    return Value(f"{kind.__module__}:{kind.__qualname__}", str, make)


def _ip(name: str) -> Value:
    def make(text: Any) -> Any:
        import ipaddress  # noqa: PLC0415 - few need it

        return getattr(ipaddress, name)(of_type(text, str))

    return Value(f"ipaddress:{name}", str, make)


def _generic_head(value: Any) -> list[Any]:
    return [value.__origin__, list(value.__args__)]


def _generic(head: list[Any]) -> Any:
    origin, args = head
    if not isinstance(origin, type):
        raise TypeError("not a type")
    return types.GenericAlias(origin, tuple(of_type(args, list)))


def _union(args: list[Any]) -> Any:
    for arg in args:
        if not isinstance(arg, (type, types.GenericAlias)):
            raise TypeError("not a type")
    return functools.reduce(operator.or_, args)


def _logger(name: Any) -> logging.Logger:
    return logging.getLogger(of_type(name, str)) if name is not None else logging.getLogger()


_STRUCTURES: list[Any] = [os.stat_result, os.terminal_size, os.times_result, time.struct_time]
if sys.platform != "win32":
    _STRUCTURES += [os.uname_result, os.statvfs_result]
_OWN = [
    Value(
        "collections:defaultdict",
        lambda v: v.default_factory,
        _defaultdict,
        body=dict,
        fill=lambda v, p: v.update(of_type(p, dict)),
        tracked=True,
    ),
    Value("array:array", _array_head, _array, tracked=True),
    Value("re:Pattern", _pattern_head, _pattern),
    Value("_io:BytesIO", lambda v: list(v.__getstate__()), _bytesio, tracked=True),
    Value("_io:StringIO", lambda v: list(v.__getstate__()), _stringio, tracked=True),
    Value("random:Random", _random_head, _random, tracked=True),
    Value("operator:itemgetter", _getter_head, lambda p: operator.itemgetter(*of_type(p, list))),
    Value("operator:attrgetter", _attrgetter_head, _attrgetter),
    Value("operator:methodcaller", _methodcaller_head, _methodcaller),
    Value("types:GenericAlias", _generic_head, _generic),
    Value("types:UnionType", lambda v: list(v.__args__), _union),
    Value("logging:Logger", lambda v: v.name, _logger),
    Value("logging:RootLogger", lambda v: None, _logger),
    _named(pathlib.PurePosixPath, sys.maxsize),
    _named(pathlib.PureWindowsPath, sys.maxsize),
    *map(_ip, ["IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"]),
    *map(_ip, ["IPv4Interface", "IPv6Interface"]),
    *map(_sequence, _STRUCTURES),
]
_TABLE = {value.type: value for value in _OWN}
# Other libraries: the module that encodes their types. It is imported when first needed.
_LIBRARIES = {
    "numpy": "shared.calls.arrays",
    "pandas": "shared.calls.tables",
    "PIL": "shared.calls.images",
}


def find(kind: type) -> Value | None:
    """Return the encoding of a type; None if it needs no special one."""
    module = kind.__module__
    found = _TABLE.get(f"{module}:{kind.__qualname__}")
    if found is None and (root := module.partition(".")[0]) in _LIBRARIES:
        return _library(root).find(kind)  # type: ignore[no-any-return]
    return found


def named(name: str) -> Value:
    """Return the encoding that a message names."""
    found = _TABLE.get(name)
    root = name.partition(":")[0].partition(".")[0]
    if found is None and root in _LIBRARIES:
        found = _library(root).TABLE.get(name)
    if found is None:
        raise NotPortable("a message", f"it has a value of unknown kind {name!r}")
    return found


def _library(root: str) -> Any:
    try:
        return importlib.import_module(_LIBRARIES[root])
    except ImportError as error:
        raise NotPortable(f"a value of {root}", f"{root} cannot be imported ({error})") from None

"""Decodes bytes to a value. Only listed functions are called, and only listed types are made."""

import enum
import functools
import types
from collections.abc import Callable
from typing import Any

import msgpack

from shared.calls import exceptions, graph, harmless, objects, references, registration, values
from shared.calls.kinds import (
    BY_CODE,
    CALL,
    COPIES_BYTES,
    ENUM,
    ERROR,
    FILLED,
    FUNCTION,
    GRAPH,
    HANDLE,
    MAX_DEPTH,
    METHOD,
    NAMED_TUPLE,
    OBJECT,
    PARTIAL,
    PLAIN_OBJECT,
    REFERENCE,
    REGISTERED,
    VALUE,
    check_depth,
    check_keys,
)
from shared.errors import NotPortable
from shared.handles import base

# The keys of a dict with more entries are checked for colliding hashes.
_LARGE_MAP = 256


def _hook(depth: int, nodes: "graph.Nodes | None") -> Callable[[int, bytes], Any]:
    """What msgpack calls for the extensions at this depth."""

    def rebuild(code: int, inner: bytes) -> Any:
        kind = BY_CODE.get(code)
        if kind is None:
            return _rebuild(code, inner, depth + 1, nodes)
        parts = unpack(inner, depth + 1, nodes)
        if type(parts) is not kind.wants:
            raise NotPortable("a message", f"the content of a {kind.type.__name__} is invalid")
        return kind.rebuild(parts)

    return rebuild


_HOOKS = [_hook(depth, None) for depth in range(MAX_DEPTH + 1)]


def unpack(data: bytes, depth: int = 0, nodes: "graph.Nodes | None" = None) -> Any:
    if depth > MAX_DEPTH or depth * len(data) > COPIES_BYTES:
        check_depth(depth, len(data))
    hook = _HOOKS[depth] if nodes is None else _hook(depth, nodes)
    # The options stand here twice: to hand them on as a dict takes longer than to unpack.
    try:
        return msgpack.unpackb(
            data,
            ext_hook=hook,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            max_map_len=_LARGE_MAP,
        )
    except ValueError as error:
        if "max_map_len" not in str(error):
            raise
    return msgpack.unpackb(
        data,
        ext_hook=hook,
        strict_map_key=False,
        unicode_errors="surrogatepass",
        object_pairs_hook=_large,
    )


def _rebuild(code: int, data: bytes, depth: int, nodes: "graph.Nodes | None") -> Any:
    if code == GRAPH and nodes is None:
        return graph.Nodes(
            data, lambda part, nodes: unpack(part, depth, nodes), _empty, _fill_node
        ).root()
    make = _MAKE.get(code)
    parts = unpack(data, depth, nodes)
    if code == REFERENCE and nodes is not None:
        return nodes.find(parts)
    if make is None:
        raise NotPortable("a message", f"it has an unknown extension {code}")
    if code not in FILLED:
        return make(parts)
    head, body = parts
    if code == PLAIN_OBJECT:
        value = objects.make_plain(head)
        if body is not None:
            objects.set_state(value, body)
        return value
    value = make(head)
    if body is not None:
        _fill(code, head, value, body)
    return value


def _large(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    check_keys([pair[0] for pair in pairs])
    return dict(pairs)


def _fill(code: int, head: Any, value: Any, body: Any) -> None:
    if code == VALUE:
        fill = values.named(head[0]).fill
        if fill is None:
            raise NotPortable("a message", f"a {head[0]} is not filled")
        fill(value, body)
    elif code == ERROR:
        if type(value).__qualname__ == head[1]:  # and no stand-in
            value.__setstate__(body)
    elif code == PLAIN_OBJECT:
        objects.set_state(value, body)
    elif code not in FILLED or (code == CALL and len(head) == 1):
        raise NotPortable("a message", "what is named is not changed")
    else:
        objects.fill(value, body)


def _empty(code: int, head: Any) -> Any:
    """A node of a graph that is filled later, or whole when it cannot hold itself."""
    kind = BY_CODE.get(code)
    if kind is not None:
        if kind.empty is not None:
            return kind.empty(head)
        if type(head) is not kind.wants:
            raise NotPortable("a message", f"the content of a {kind.type.__name__} is invalid")
        return kind.rebuild(head)
    make = _MAKE.get(code)
    if make is None:
        raise NotPortable("a message", f"it has an unknown extension {code}")
    return make(head)


def _fill_node(code: int, head: Any, value: Any, body: Any) -> None:
    kind = BY_CODE.get(code)
    if kind is None:
        _fill(code, head, value, body)
    elif kind.fill is None or type(body) is not kind.wants:
        raise NotPortable("a message", f"the content of a {kind.type.__name__} is invalid")
    else:
        kind.fill(value, body)


def _make_value(head: list[Any]) -> Any:
    name, parts = head
    return values.named(name).make(parts)


def _member(name: str, single: bool, member: Any) -> enum.Enum:
    cls = objects.find_class(name)
    if not issubclass(cls, enum.Enum):
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


_MAKE: dict[int, Callable[[Any], Any]] = {
    ENUM: lambda parts: _member(*parts),
    OBJECT: objects.make,
    PLAIN_OBJECT: objects.make_plain,
    NAMED_TUPLE: objects.make_named_tuple,
    FUNCTION: references.resolve,
    ERROR: lambda head: exceptions.rebuild(head[0], head[1], head[2], {}, head[3]),
    HANDLE: lambda parts: base.rebuild(*parts),
    PARTIAL: lambda parts: functools.partial(parts[0], *parts[1], **parts[2]),
    METHOD: lambda parts: _method(*parts),
    VALUE: _make_value,
    CALL: objects.call,
    REGISTERED: registration.rebuild,
}

"""Encodes values that hold one object twice, and values that contain themselves.

The codec uses this module only for a value in which an object occurs a second time. The value is
written as a table of nodes. Each object that occurs more than once is one node, and every
occurrence is a reference to that node. Very deep values also use nodes, at every few levels, so
that no part is nested deeply.

A node that can contain itself (a list, a dict, an object …) has a head and a body. The head
creates the node empty, and the body fills it. A node stands in the table after the nodes that it
contains, so a reader fills the nodes in the order of the table. In a cycle, a reader meets a node
before its turn. It then creates the node empty at once, and fills it later.
"""

from collections.abc import Callable
from typing import Any

import msgpack

from shared.calls.kinds import BY_CODE, BY_TYPE, PLAIN, check_keys
from shared.errors import MessageTooLarge, NotPortable

_LIST, _DICT = 30, 31
_EVERY = 30  # at most this many levels without a node
_DEEP = 100
_MISSING: Any = object()
# The origin of a container: the user's value, or the codec's parts of a built-in or other kind.
_REAL, _OF_KIND, _OF_OTHER = 0, 1, 2
# code, tracked, head, body, and True if a value that is no node is written as [head, body]
Parts = tuple[int, bool, Any, Any, bool]
Describe = Callable[[Any], Parts]


def dump(value: Any, limit: int, describe: Describe, codes: tuple[int, int]) -> bytes:
    """Return a value encoded as a graph. Raises `MessageTooLarge` if it exceeds the limit."""
    walk = _Walk(value, describe)
    return _Writer(walk, limit, codes).write(value)


class _Walk:
    """Visits all parts of a value once, without recursion."""

    def __init__(self, root: Any, describe: Describe) -> None:
        self.parts: dict[int, Parts] = {}
        self._values: list[Any] = []  # keeps temporary parts alive, so that ids stay unique
        self._times: dict[int, int] = {}
        self._forced: set[int] = set()
        self._order: list[int] = []
        self._path: dict[int, int] = {}  # the tracked values being visited
        self._todo: list[tuple[Any, int, int]] = [(root, 0, _REAL)]
        while self._todo:
            value, depth, made = self._todo.pop()
            if depth < 0:
                self._path.pop(id(value))
                self._order.append(id(value))
            elif id(value) in self._times:
                self._times[id(value)] += 1
                self._close_circle(id(value))
            else:
                self._visit(value, depth, made, describe)

    def _visit(self, value: Any, depth: int, made: int, describe: Describe) -> None:
        key, kind = id(value), type(value)
        self._times[key] = 1
        self._values.append(value)
        inside: Any
        if kind is list or kind is dict:
            code = _LIST if kind is list else _DICT
            self.parts[key] = parts = code, True, None, value, False
            inside = value if kind is list else [*value, *value.values()]
            below = _OF_OTHER if made == _OF_OTHER else _REAL
        else:
            self.parts[key] = parts = describe(value)
            inside = [parts[2], parts[3]]
            self._values.append(inside)
            below = _OF_KIND if parts[0] in BY_CODE else _OF_OTHER
        if parts[1]:
            if depth >= _EVERY and made == _REAL:
                self._forced.add(key)
                depth = 0
            self._path[key] = made
            self._todo.append((value, -1, made))
        for part in reversed(inside):
            if type(part) not in PLAIN:
                is_own = below and type(part) in (list, dict)
                self._todo.append((part, depth + 1, below if is_own else _REAL))

    def _close_circle(self, key: int) -> None:
        """Make nodes of those values in a cycle that can be created empty."""
        if key not in self._path or self._may_wait(key):
            return
        path = list(self._path)
        between = [one for one in path[path.index(key) :] if self._path[one] == _REAL]
        waiting = [one for one in between if self._may_wait(one)]
        if not waiting:
            raise NotPortable("a value", "it contains itself in a way that cannot be rebuilt")
        self._forced.update(waiting)

    def _may_wait(self, key: int) -> bool:
        """True if a node can be created empty and filled later."""
        return self.parts[key][3] is not None

    def nodes(self) -> list[int]:
        """Return the ids of the objects that need a node; contained objects come first."""
        return [key for key in self._order if self._times[key] > 1 or key in self._forced]


class _Writer:
    """Writes the visited parts."""

    def __init__(self, walk: _Walk, limit: int, codes: tuple[int, int]) -> None:
        self._parts = walk.parts
        self._nodes = {key: index for index, key in enumerate(walk.nodes())}
        self._limit = limit
        self._size = 0
        self._graph, self._reference = codes

    def write(self, root: Any) -> bytes:
        """Return the nodes and the root, packed."""
        table = []
        for key in self._nodes:
            code, _, head, body, _ = self._parts[key]
            inside = body
            if code in (_LIST, _DICT):
                inside = self._open(code, body)
            elif body is not None:
                inside = self._convert(body)
            table.append(
                [
                    code,
                    self._pack(self._convert(head)),
                    None if body is None else self._pack(inside),
                ]
            )
        data = msgpack.packb([table, self._pack(self._convert(root))])
        return bytes(msgpack.packb(msgpack.ExtType(self._graph, data)))

    def _pack(self, converted: Any) -> bytes:
        packed = bytes(
            msgpack.packb(
                converted, default=_big, strict_types=True, unicode_errors="surrogatepass"
            )
        )
        self._size += len(packed)
        if self._size > self._limit * 2:  # nested parts are counted more than once
            raise MessageTooLarge("the value", self._size, self._limit)
        return packed

    def _convert(self, value: Any) -> Any:
        if type(value) in PLAIN:
            return value
        index = self._nodes.get(id(value))
        if index is not None:
            return msgpack.ExtType(self._reference, msgpack.packb(index))
        code, _, head, body, is_filled = self._parts[id(value)]
        if code in (_LIST, _DICT):
            return self._open(code, value)
        if is_filled:
            inner = [self._convert(head), self._convert(body)]
        else:
            inner = self._convert(head if body is None else body)
        return msgpack.ExtType(code, self._pack(inner))

    def _open(self, code: int, value: Any) -> Any:
        if code == _LIST:
            return [self._convert(item) for item in value]
        return {self._convert(key): self._convert(item) for key, item in value.items()}


def _big(number: Any) -> msgpack.ExtType:
    kind = BY_TYPE[int]
    return msgpack.ExtType(kind.code, msgpack.packb(kind.parts(number)))


class Nodes:
    """Reads a graph."""

    def __init__(
        self,
        data: bytes,
        unpack: Callable[[bytes, "Nodes"], Any],
        empty: Callable[[int, Any], Any],
        fill: Callable[[int, Any, Any, Any], None],
    ) -> None:
        self._table, self._root = msgpack.unpackb(data)
        self._unpack = unpack
        self._empty = empty
        self._fill = fill
        self._made: list[Any] = [_MISSING] * len(self._table)
        self._heads: list[Any] = [None] * len(self._table)
        self._making: set[int] = set()

    def root(self) -> Any:
        """Return the value, after creating and filling all nodes."""
        for index, (code, _, body) in enumerate(self._table):
            value = self.find(index)
            if body is not None:
                self._fill_node(code, self._heads[index], value, self._unpack(body, self))
        return self._unpack(self._root, self)

    def find(self, index: Any) -> Any:
        """Return a node. A node that is requested before its turn may still be empty."""
        if type(index) is not int or index < 0:
            raise NotPortable("a message", "it refers to a node that does not exist")
        if self._made[index] is _MISSING:
            if index in self._making or len(self._making) > _DEEP:
                raise NotPortable("a message", "its nodes form a cycle, or are nested too deeply")
            self._making.add(index)
            code, head, body = self._table[index]
            self._heads[index] = head = self._unpack(head, self)
            self._made[index] = self._make(code, head, body)
            self._making.discard(index)
        return self._made[index]

    def _make(self, code: int, head: Any, body: Any) -> Any:
        if code in (_LIST, _DICT):
            if body is None:
                raise NotPortable("a message", "a list or dict has no content")
            return [] if code == _LIST else {}
        return self._empty(code, head)

    def _fill_node(self, code: int, head: Any, value: Any, body: Any) -> None:
        if code == _LIST:
            if type(body) is not list:
                raise NotPortable("a message", "the content of a list is not a list")
            value.extend(body)
        elif code == _DICT:
            if type(body) is not dict:
                raise NotPortable("a message", "the content of a dict is not a dict")
            check_keys(list(body))
            value.update(body)
        else:
            self._fill(code, head, value, body)

"""Managed lists and arrays: Redis stores the items, and a version that every change increments.

Each operation that is atomic in the standard library is one Lua script here. Some operations need
Python (`sort`, `remove`, slices). They read all items with the version, change them locally, and
write them back if the version is still the same. Otherwise they start again.
"""

import array
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, SupportsIndex

from shared.handles.scripts import Script
from shared.multiprocessing.items import decode, encode
from shared.multiprocessing.proxies import Proxy

__all__ = ["ArrayProxy", "ListProxy"]

# The hash at the handle's name exists even while the list is empty.
_EXISTS = """
  if redis.call('exists', name) == 0 then return redis.error_reply('GONE') end
"""

# arg: the items.
_CREATE = Script("""
  redis.call('hset', name, 'version', 0)
  for _, item in ipairs(arg) do
    redis.call('rpush', name .. ':items', item)
    refer(item, 1)
  end
  keep('', ':items', ':refs')
  return 1
""")

# arg: first and last index, as in LRANGE. Returns the version, then the items.
_READ = Script(
    _EXISTS
    + """
  local answer = redis.call('lrange', name .. ':items', arg[1], arg[2])
  table.insert(answer, 1, tonumber(redis.call('hget', name, 'version')))
  return answer
""",
    reads=True,
)

_LENGTH = Script(_EXISTS + "return redis.call('llen', name .. ':items')", reads=True)

# arg: the expected version ('' for any), the index ('end'), the number of items to remove there,
# a text if the index must exist (else ''), the new items.
# Returns {1, removed ...}; {0} if the version differs; {-1} if the index does not exist.
_SPLICE = Script(
    _EXISTS
    + """
  local items = name .. ':items'
  local length = redis.call('llen', items)
  local version, delete, strict = arg[1], tonumber(arg[3]), arg[4] ~= ''
  if version ~= '' and redis.call('hget', name, 'version') ~= version then return {0} end
  local start = arg[2] == 'end' and length or tonumber(arg[2])
  if start < 0 then start = start + length end
  if strict and (start < 0 or start >= length) then return {-1} end
  start = math.max(0, math.min(start, length))
  local stop = math.min(start + delete, length)
  local answer = {1}
  if stop > start then
    answer = redis.call('lrange', items, start, stop - 1)
    for _, item in ipairs(answer) do refer(item, -1) end
    table.insert(answer, 1, 1)
  end
  for i = 5, #arg do refer(arg[i], 1) end
  if stop - start == 1 and #arg == 5 then
    redis.call('lset', items, start, arg[5])
  elseif stop - start == 1 and #arg == 4 and start == 0 then
    redis.call('lpop', items)
  else
    local tail = {}
    if stop < length then tail = redis.call('lrange', items, stop, -1) end
    if start < length then
      if start == 0 then redis.call('del', items) else redis.call('ltrim', items, 0, start - 1) end
    end
    for i = 5, #arg do redis.call('rpush', items, arg[i]) end
    for _, item in ipairs(tail) do redis.call('rpush', items, item) end
  end
  redis.call('hincrby', name, 'version', 1)
  keep('', ':items', ':refs')
  return answer
"""
)


class _Sequence(Proxy):
    """The operations that lists and arrays share."""

    def _encode(self, value: Any) -> bytes:
        return encode(value, "the item")

    def _items(self) -> list[bytes]:
        return self._snapshot()[1]

    def _snapshot(self) -> tuple[int, list[bytes]]:
        version, *items = _READ(self._name, 0, -1)
        return version, items

    def _splice(
        self, start: int | str, delete: int, items: Iterable[bytes], *, strict: str = ""
    ) -> list[bytes]:
        done, *removed = _SPLICE(self._name, "", start, delete, strict, *items)
        if done < 0:
            raise IndexError(strict)
        return list(removed)

    def _change(self, change: Callable[[list[bytes]], list[bytes]]) -> None:
        """Replace the items with the result of `change`, atomically."""
        done = 0
        while not done:
            version, items = self._snapshot()
            changed = change(list(items))
            done = _SPLICE(self._name, version, 0, len(items), "", *changed)[0]

    def __len__(self) -> int:
        return int(_LENGTH(self._name))

    def _values(self) -> list[Any]:
        return [decode(item) for item in self._items()]

    def _get(self, index: SupportsIndex, message: str) -> Any:
        at = index.__index__()
        found = _READ(self._name, at, at)
        if len(found) < 2:
            raise IndexError(message)
        return decode(found[1])


class ListProxy(_Sequence):
    """``multiprocessing.managers.ListProxy``: a list that many processes share."""

    _kind = "list"
    _typeid = "list"

    @classmethod
    def _create(cls, iterable: Iterable[Any] = ()) -> Self:
        items = [encode(value, "the item") for value in iterable]
        made = cls.__new__(cls)
        made._open()
        _CREATE(made._name, *items)
        return made

    def _getvalue(self) -> list[Any]:
        return self._values()

    def append(self, value: Any) -> None:
        """Add an item at the end."""
        self._splice("end", 0, [self._encode(value)])

    def extend(self, values: Iterable[Any]) -> None:
        """Add all values at the end, atomically."""
        self._splice("end", 0, [self._encode(value) for value in values])

    def insert(self, index: SupportsIndex, value: Any) -> None:
        """Insert an item before an index."""
        self._splice(index.__index__(), 0, [self._encode(value)])

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Remove and return an item, by default the last. Raises IndexError if there is none."""
        message = "pop index out of range" if index.__index__() != -1 else "pop from empty list"
        return decode(self._splice(index.__index__(), 1, [], strict=message)[0])

    def remove(self, value: Any) -> None:
        """Remove the first item that equals the value. Raises ValueError if there is none."""

        def change(items: list[bytes]) -> list[bytes]:
            for index, item in enumerate(items):
                if decode(item) == value:
                    return items[:index] + items[index + 1 :]
            raise ValueError("list.remove(x): x not in list")

        self._change(change)

    def reverse(self) -> None:
        """Reverse the order of the items."""
        self._change(lambda items: items[::-1])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort the list. `key` runs in this process."""

        def change(items: list[bytes]) -> list[bytes]:
            pairs = [(decode(item), item) for item in items]
            pairs.sort(key=lambda pair: pair[0] if key is None else key(pair[0]), reverse=reverse)
            return [item for _, item in pairs]

        self._change(change)

    def clear(self) -> None:
        """Remove all items."""
        self._change(lambda items: [])

    def copy(self) -> list[Any]:
        """Return the items as a plain list."""
        return self._values()

    def count(self, value: Any) -> int:
        """Return the number of items that equal the value."""
        return self._values().count(value)

    def index(self, value: Any, *limits: SupportsIndex) -> int:
        """Return the index of the first equal item. Raises ValueError if there is none."""
        return self._values().index(value, *limits)

    def __contains__(self, value: Any) -> bool:
        return value in self._values()

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if not isinstance(index, slice):
            return self._get(index, "list index out of range")
        start, stop = index.start or 0, index.stop
        if index.step in (None, 1) and start >= 0 and (stop is None or stop > 0):
            _, *items = _READ(self._name, start, -1 if stop is None else stop - 1)
            return [decode(item) for item in items]
        return self._values()[index]

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if isinstance(index, slice):
            new = [self._encode(item) for item in value]
            self._change(lambda items: _with(items, index, new))
            return
        message = "list assignment index out of range"
        self._splice(index.__index__(), 1, [self._encode(value)], strict=message)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        if isinstance(index, slice):
            self._change(lambda items: _without(items, index))
            return
        message = "list assignment index out of range"
        self._splice(index.__index__(), 1, [], strict=message)

    def __reversed__(self) -> Iterator[Any]:
        return iter(self._values()[::-1])

    def __add__(self, other: list[Any]) -> list[Any]:
        return self._values() + other

    def __mul__(self, times: SupportsIndex) -> list[Any]:
        return self._values() * times

    __rmul__ = __mul__

    def __iadd__(self, values: Iterable[Any]) -> Self:
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> Self:
        self._change(lambda items: items * times)
        return self

    __class_getitem__: Any = classmethod(types.GenericAlias)


class ArrayProxy(_Sequence):
    """``multiprocessing.managers.ArrayProxy``: an ``array.array`` that many processes share."""

    _kind = "array"
    _typeid = "Array"

    @classmethod
    def _create(cls, typecode: str, sequence: Iterable[Any], lock: bool = True) -> Self:
        made = cls.__new__(cls)
        made._open(None, typecode)
        _CREATE(made._name, *map(encode, array.array(typecode, sequence)))
        return made

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        (self._typecode,) = parameters
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [self._typecode]

    def _encode(self, value: Any) -> bytes:
        # `array` converts the value, or raises its usual error.
        return encode(array.array(self._typecode, [value])[0])

    def _getvalue(self) -> "array.array[Any]":
        return array.array(self._typecode, self._values())

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return self._getvalue()[index]
        return self._get(index, "array index out of range")

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if not isinstance(index, slice):
            message = "array assignment index out of range"
            self._splice(index.__index__(), 1, [self._encode(value)], strict=message)
            return

        def change(items: list[bytes]) -> list[bytes]:
            changed = array.array(self._typecode, [decode(item) for item in items])
            changed[index] = value
            return list(map(encode, changed))

        self._change(change)


def _with(items: list[bytes], where: slice, new: list[bytes]) -> list[bytes]:
    items[where] = new
    return items


def _without(items: list[bytes], where: slice) -> list[bytes]:
    del items[where]
    return items

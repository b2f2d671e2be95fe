"""Managed lists, dicts, namespaces, values and arrays, their data in Redis.

Names, signatures and errors are those of the standard library's proxies.

What one call of the standard library does in one step is one script here. Where Python itself
must decide (`sort`, `remove`, slices), the whole is read with its version, changed here, and
written back only if nobody changed it meanwhile; else again.

As in the standard library, what you get from a proxy is a copy: changing it changes nothing,
unless it is itself a proxy. An item that is a handle stays alive as long as it lies in there.
"""

import array
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, SupportsIndex

from shared import codec
from shared.handles import Handle, decode, encode
from shared.multiprocessing import listing, mapping

__all__ = ["ArrayProxy", "DictProxy", "ListProxy", "NamespaceProxy", "ValueProxy"]


class Proxy(Handle):
    """What the proxies share: how they look, and their value."""

    _typeid: str

    def _getvalue(self) -> Any:
        """A copy of what it stands for."""
        raise NotImplementedError

    def __deepcopy__(self, memo: Any) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        try:
            return repr(self._getvalue())
        except Exception:
            return repr(self)[:-1] + "; '__str__()' failed>"


class _Sequence(Proxy):
    """What lists and arrays do with their items."""

    def _encode(self, value: Any) -> bytes:
        return encode(value, "the item")

    def _items(self) -> list[bytes]:
        return self._snapshot()[1]

    def _snapshot(self) -> tuple[int, list[bytes]]:
        version, *items = listing.READ(self._name, 0, -1)
        return version, items

    def _splice(
        self, start: int | str, delete: int, items: Iterable[bytes], *, strict: str = ""
    ) -> list[bytes]:
        done, *removed = listing.SPLICE(self._name, "", start, delete, strict, *items)
        if done < 0:
            raise IndexError(strict)
        return list(removed)

    def _change(self, change: Callable[[list[bytes]], list[bytes]]) -> None:
        """Replace the items by what `change` makes of them, in one step."""
        done = 0
        while not done:
            version, items = self._snapshot()
            changed = change(list(items))
            done = listing.SPLICE(self._name, version, 0, len(items), "", *changed)[0]

    def __len__(self) -> int:
        return int(listing.LENGTH(self._name))

    def _values(self) -> list[Any]:
        return [decode(item) for item in self._items()]

    def _get(self, index: SupportsIndex, message: str) -> Any:
        at = index.__index__()
        found = listing.READ(self._name, at, at)
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
        listing.CREATE(made._name, *items)
        return made

    def _getvalue(self) -> list[Any]:
        return self._values()

    def append(self, value: Any) -> None:
        """Add one at the end."""
        self._splice("end", 0, [self._encode(value)])

    def extend(self, values: Iterable[Any]) -> None:
        """Add all at the end, in one step."""
        self._splice("end", 0, [self._encode(value) for value in values])

    def insert(self, index: SupportsIndex, value: Any) -> None:
        """Put one before an index."""
        self._splice(index.__index__(), 0, [self._encode(value)])

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Take one out, by default the last; IndexError where there is none."""
        message = "pop index out of range" if index.__index__() != -1 else "pop from empty list"
        return decode(self._splice(index.__index__(), 1, [], strict=message)[0])

    def remove(self, value: Any) -> None:
        """Take the first equal one out; ValueError where there is none."""

        def change(items: list[bytes]) -> list[bytes]:
            for index, item in enumerate(items):
                if decode(item) == value:
                    return items[:index] + items[index + 1 :]
            raise ValueError("list.remove(x): x not in list")

        self._change(change)

    def reverse(self) -> None:
        """Turn the order round."""
        self._change(lambda items: items[::-1])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort it; `key` is called here."""

        def change(items: list[bytes]) -> list[bytes]:
            pairs = [(decode(item), item) for item in items]
            pairs.sort(key=lambda pair: pair[0] if key is None else key(pair[0]), reverse=reverse)
            return [item for _, item in pairs]

        self._change(change)

    def clear(self) -> None:
        """Take all out."""
        self._change(lambda items: [])

    def copy(self) -> list[Any]:
        """A plain list of the items."""
        return self._values()

    def count(self, value: Any) -> int:
        """How many are equal to the value."""
        return self._values().count(value)

    def index(self, value: Any, *limits: SupportsIndex) -> int:
        """Where the first equal one is; ValueError where there is none."""
        return self._values().index(value, *limits)

    def __contains__(self, value: Any) -> bool:
        return value in self._values()

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if not isinstance(index, slice):
            return self._get(index, "list index out of range")
        start, stop = index.start or 0, index.stop
        if index.step in (None, 1) and start >= 0 and (stop is None or stop > 0):
            _, *items = listing.READ(self._name, start, -1 if stop is None else stop - 1)
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
        listing.CREATE(made._name, *map(encode, array.array(typecode, sequence)))
        return made

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        (self._typecode,) = parameters
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [self._typecode]

    def _encode(self, value: Any) -> bytes:
        # What the array would keep of it; its own error for what it would not take.
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


class DictProxy(Proxy):
    """``multiprocessing.managers.DictProxy``: a dict that many processes share, in order."""

    _kind = "dict"
    _typeid = "dict"

    @classmethod
    def _create(cls, *args: Any, **kwargs: Any) -> Self:
        entries = mapping.entries(dict(*map(_plain_mapping, args), **kwargs))
        made = cls.__new__(cls)
        made._open()
        mapping.CREATE(made._name, *entries)
        return made

    def _getvalue(self) -> dict[Any, Any]:
        return dict(self.items())

    def __getitem__(self, key: Any) -> Any:
        item = mapping.GET(self._name, mapping.field(key))
        if item is None:
            raise KeyError(key)
        return decode(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        mapping.SET(self._name, *mapping.entries({key: value}))

    def __delitem__(self, key: Any) -> None:
        if mapping.TAKE(self._name, mapping.field(key)) is None:
            raise KeyError(key)

    def __contains__(self, key: Any) -> bool:
        return mapping.GET(self._name, mapping.field(key)) is not None

    def __len__(self) -> int:
        return int(mapping.LENGTH(self._name))

    def __iter__(self) -> Iterator[Any]:
        return _DictIterator(self)

    def get(self, key: Any, default: Any = None) -> Any:
        """The value, or the default."""
        item = mapping.GET(self._name, mapping.field(key))
        return default if item is None else decode(item)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value; the default becomes it where there was none."""
        return decode(mapping.SETDEFAULT(self._name, *mapping.entries({key: default})))

    def pop(self, key: Any, *default: Any) -> Any:
        """Take the value out; the default, or KeyError, where there is none."""
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {len(default) + 1}")
        item = mapping.TAKE(self._name, mapping.field(key))
        if item is not None:
            return decode(item)
        if default:
            return default[0]
        raise KeyError(key)

    def popitem(self) -> tuple[Any, Any]:
        """Take the newest key and value out; KeyError where there is none."""
        found = mapping.TAKE_LAST(self._name)
        if not found:
            raise KeyError("popitem(): dictionary is empty")
        return codec.loads(found[0]), decode(found[1])

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take over all keys and values, in one step."""
        mapping.SET(self._name, *mapping.entries(dict(*map(_plain_mapping, args), **kwargs)))

    def clear(self) -> None:
        """Take all out."""
        mapping.CLEAR(self._name)

    def copy(self) -> dict[Any, Any]:
        """A plain dict of it."""
        return self._getvalue()

    def keys(self) -> list[Any]:
        """The keys, in order of their first assignment."""
        return [codec.loads(key) for key in mapping.KEYS(self._name)]

    def values(self) -> list[Any]:
        """The values, in the order of the keys."""
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[Any, Any]]:
        """The keys and values."""
        flat = mapping.ALL(self._name)
        return [
            (codec.loads(key), decode(item))
            for key, item in zip(flat[::2], flat[1::2], strict=True)
        ]

    __class_getitem__: Any = classmethod(types.GenericAlias)


class _DictIterator(Iterator[Any]):
    """The keys; RuntimeError at the next one when the dict has another size by then."""

    def __init__(self, of: DictProxy) -> None:
        self._of = of
        self._keys = of.keys()
        self._next = 0

    def __next__(self) -> Any:
        if self._next >= len(self._keys):
            raise StopIteration
        if len(self._of) != len(self._keys):
            raise RuntimeError("dictionary changed size during iteration")
        self._next += 1
        return self._keys[self._next - 1]


class NamespaceProxy(Proxy):
    """``multiprocessing.managers.NamespaceProxy``: attributes that many processes share.

    Names that begin with an underscore belong to this object alone, as in the standard library.
    """

    _kind = "namespace"
    _typeid = "Namespace"

    @classmethod
    def _create(cls, /, **kwargs: Any) -> Self:
        made = cls.__new__(cls)
        made._open()
        mapping.CREATE(made._name, *mapping.entries(kwargs))
        return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        item = mapping.GET(self._name, mapping.field(name))
        if item is None:
            raise AttributeError(f"'Namespace' object has no attribute {name!r}")
        return decode(item)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            mapping.SET(self._name, *mapping.entries({name: value}))

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            object.__delattr__(self, name)
        elif mapping.TAKE(self._name, mapping.field(name)) is None:
            raise AttributeError(f"'Namespace' object has no attribute {name!r}")

    def _getvalue(self) -> Any:
        flat = mapping.ALL(self._name)
        names = {codec.loads(k): decode(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}
        return _Namespace(**names)


class _Namespace:
    """What a namespace proxy's value is, and how it looks."""

    def __init__(self, /, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)

    def __repr__(self) -> str:
        return f"Namespace({', '.join(sorted(f'{k}={v!r}' for k, v in vars(self).items()))})"


class ValueProxy(Proxy):
    """``multiprocessing.managers.ValueProxy``: one value of any kind; `typecode` says nothing."""

    _kind = "value"
    _typeid = "Value"

    @classmethod
    def _create(cls, typecode: Any, value: Any, lock: bool = True) -> Self:
        made = cls.__new__(cls)
        made._open(None, typecode if isinstance(typecode, str) else typecode.__name__)
        mapping.CREATE(made._name, *mapping.entries({"value": value}))
        return made

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        (self._typecode,) = parameters
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [self._typecode]

    def get(self) -> Any:
        """The value."""
        return decode(mapping.GET(self._name, mapping.field("value")))

    def set(self, value: Any) -> None:
        """Replace the value."""
        mapping.SET(self._name, *mapping.entries({"value": value}))

    value = property(get, set)

    def _getvalue(self) -> Any:
        return _Value(self._typecode, self.get())

    __class_getitem__: Any = classmethod(types.GenericAlias)


class _Value(typing.NamedTuple):
    typecode: str
    value: Any

    def __repr__(self) -> str:
        return f"Value({self.typecode!r}, {self.value!r})"


def _plain_mapping(value: Any) -> Any:
    """A proxy's content in one step, anything else as it is."""
    return value.copy() if isinstance(value, DictProxy) else value


def _with(items: list[bytes], where: slice, new: list[bytes]) -> list[bytes]:
    items[where] = new
    return items


def _without(items: list[bytes], where: slice) -> list[bytes]:
    del items[where]
    return items

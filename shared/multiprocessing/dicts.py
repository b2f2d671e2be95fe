"""Managed dicts, namespaces and values. All three are mappings in Redis."""

import types
import typing
from collections.abc import Iterator
from typing import Any, Self

from shared.calls import codec
from shared.multiprocessing import mappings
from shared.multiprocessing.items import decode
from shared.multiprocessing.proxies import Proxy

__all__ = ["DictProxy", "NamespaceProxy", "ValueProxy"]


class DictProxy(Proxy):
    """``multiprocessing.managers.DictProxy``: a dict that many processes share, in order."""

    _kind = "dict"
    _typeid = "dict"

    @classmethod
    def _create(cls, *args: Any, **kwargs: Any) -> Self:
        packed = mappings.pack(dict(*map(_plain_mapping, args), **kwargs))
        made = cls.__new__(cls)
        made._open()
        mappings.CREATE(made._name, *packed)
        return made

    def _getvalue(self) -> dict[Any, Any]:
        return dict(self.items())

    def __getitem__(self, key: Any) -> Any:
        item = mappings.GET(self._name, mappings.field(key))
        if item is None:
            raise KeyError(key)
        return decode(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        mappings.SET(self._name, *mappings.pack({key: value}))

    def __delitem__(self, key: Any) -> None:
        if mappings.TAKE(self._name, mappings.field(key)) is None:
            raise KeyError(key)

    def __contains__(self, key: Any) -> bool:
        return mappings.GET(self._name, mappings.field(key)) is not None

    def __len__(self) -> int:
        return int(mappings.LENGTH(self._name))

    def __iter__(self) -> Iterator[Any]:
        return _DictIterator(self)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        item = mappings.GET(self._name, mappings.field(key))
        return default if item is None else decode(item)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key. Stores the default first if the key is missing."""
        return decode(mappings.SETDEFAULT(self._name, *mappings.pack({key: default})))

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a key. Returns its value, or the default; raises KeyError without a default."""
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {len(default) + 1}")
        item = mappings.TAKE(self._name, mappings.field(key))
        if item is not None:
            return decode(item)
        if default:
            return default[0]
        raise KeyError(key)

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the newest key and value. Raises KeyError if the dict is empty."""
        found = mappings.TAKE_LAST(self._name)
        if not found:
            raise KeyError("popitem(): dictionary is empty")
        return codec.loads(found[0]), decode(found[1])

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Store all given keys and values, atomically."""
        mappings.SET(self._name, *mappings.pack(dict(*map(_plain_mapping, args), **kwargs)))

    def clear(self) -> None:
        """Remove all keys."""
        mappings.CLEAR(self._name)

    def copy(self) -> dict[Any, Any]:
        """Return the content as a plain dict."""
        return self._getvalue()

    def keys(self) -> list[Any]:
        """Return the keys, in order of their first assignment."""
        return [codec.loads(key) for key in mappings.KEYS(self._name)]

    def values(self) -> list[Any]:
        """Return the values, in the order of the keys."""
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[Any, Any]]:
        """Return the pairs of key and value."""
        flat = mappings.ALL(self._name)
        return [
            (codec.loads(key), decode(item))
            for key, item in zip(flat[::2], flat[1::2], strict=True)
        ]

    __class_getitem__: Any = classmethod(types.GenericAlias)


class _DictIterator(Iterator[Any]):
    """Iterates over the keys. Raises RuntimeError if the size of the dict changes meanwhile."""

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

    Names with a leading underscore are local to this object, as in the standard library.
    """

    _kind = "namespace"
    _typeid = "Namespace"

    @classmethod
    def _create(cls, /, **kwargs: Any) -> Self:
        made = cls.__new__(cls)
        made._open()
        mappings.CREATE(made._name, *mappings.pack(kwargs))
        return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        item = mappings.GET(self._name, mappings.field(name))
        if item is None:
            raise AttributeError(f"'Namespace' object has no attribute {name!r}")
        return decode(item)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            mappings.SET(self._name, *mappings.pack({name: value}))

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            object.__delattr__(self, name)
        elif mappings.TAKE(self._name, mappings.field(name)) is None:
            raise AttributeError(f"'Namespace' object has no attribute {name!r}")

    def _getvalue(self) -> Any:
        flat = mappings.ALL(self._name)
        names = {codec.loads(k): decode(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}
        return _Namespace(**names)


class _Namespace:
    """A local copy of a namespace."""

    def __init__(self, /, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)

    def __repr__(self) -> str:
        return f"Namespace({', '.join(sorted(f'{k}={v!r}' for k, v in vars(self).items()))})"


class ValueProxy(Proxy):
    """``multiprocessing.managers.ValueProxy``: one value of any type; `typecode` has no effect."""

    _kind = "value"
    _typeid = "Value"

    @classmethod
    def _create(cls, typecode: Any, value: Any, lock: bool = True) -> Self:
        made = cls.__new__(cls)
        made._open(None, typecode if isinstance(typecode, str) else typecode.__name__)
        mappings.CREATE(made._name, *mappings.pack({"value": value}))
        return made

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        (self._typecode,) = parameters
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [self._typecode]

    def get(self) -> Any:
        """Return the value."""
        return decode(mappings.GET(self._name, mappings.field("value")))

    def set(self, value: Any) -> None:
        """Replace the value."""
        mappings.SET(self._name, *mappings.pack({"value": value}))

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
    """Return a proxy's content as a plain dict, and any other value unchanged."""
    return value.copy() if isinstance(value, DictProxy) else value

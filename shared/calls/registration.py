"""A way for your own types to travel: two functions, by name.

    # in a module of TASK_MODULES
    from shared.calls.registration import register

    def to_data(value: Polygon) -> list:
        return [list(point) for point in value.points]

    def from_data(data: list) -> Polygon:
        return Polygon(data)

    register(Polygon, to_data, from_data)

The type may come from any library. ``to_data`` returns whatever else travels; ``from_data`` makes
the value of it again. The message holds the name of ``from_data``: the side that receives it
imports that module, which registers the type there as well. Only a function that its own module
registered is ever called for a value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.calls import references
from shared.errors import NotPortable


@dataclass(frozen=True)
class _Registered:
    to_data: Callable[[Any], Any]
    from_data: Callable[[Any], Any]

    def encode(self, value: Any) -> list[Any]:
        """The name of the function that makes the value again, and the data for it."""
        return [references.reference(self.from_data), self.to_data(value)]


_by_type: dict[type, _Registered] = {}
_from_data: set[Callable[[Any], Any]] = set()


def register(kind: type, to_data: Callable[[Any], Any], from_data: Callable[[Any], Any]) -> None:
    """Have values of exactly this type travel as what `to_data` makes of them.

    `from_data` must be a function at the top level of a module. Raises TypeError for what is no
    type, and for a `from_data` that has no name. A second registration of a type takes the
    place of the first.
    """
    if not isinstance(kind, type):
        raise TypeError(f"{kind!r} is not a type")
    if not callable(to_data) or not callable(from_data):
        raise TypeError("to_data and from_data must be functions")
    name = getattr(from_data, "__qualname__", "<lambda>")
    if "<" in name:
        raise TypeError(f"{name} is not at the top level of a module")
    _by_type[kind] = _Registered(to_data, from_data)
    _from_data.add(from_data)


def find(kind: type) -> _Registered | None:
    """The registered way for values of this type, or None."""
    return _by_type.get(kind)


def rebuild(parts: list[Any]) -> Any:
    """Make the value that a message describes."""
    name, data = parts
    from_data = references.resolve(name)
    if not isinstance(from_data, Callable) or from_data not in _from_data:  # type: ignore[arg-type]
        raise NotPortable(repr(name), "its module does not register it for a type")
    return from_data(data)

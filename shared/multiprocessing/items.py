"""Encodes values as items of queues, pipes and managed objects, with the handles in them."""

from typing import Any

from shared.calls import codec
from shared.calls.parcels import Purpose
from shared.handles.base import collecting


def encode(value: Any, what: str = "the value") -> bytes:
    """Encode a value as an item of a container: the names of its handles, then its bytes.

    Raises `NotPortable` and `MessageTooLarge`, as `codec.dumps` does.
    """
    with collecting() as names:
        data = codec.dumps(value, what=what, purpose=Purpose.ITEM)
    return wrap(data, names)


def wrap(data: bytes, names: list[str]) -> bytes:
    """Make an item of bytes and handle names, which `refer` in `handles.scripts` reads."""
    if not names:
        return b"\0" + data
    return b"\1" + ",".join(names).encode() + b"\0" + data


def unwrap(item: bytes) -> bytes:
    """The bytes of an item."""
    return item[item.index(b"\0") + 1 :]


def decode(item: bytes) -> Any:
    """The value of an item."""
    return codec.loads(unwrap(item))

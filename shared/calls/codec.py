"""Encodes the values that may travel: data, unchanged, never code and never pickle.

The format is msgpack. msgpack would change some values (a tuple into a list, the type of a key).
Such values are encoded as extension types. So a value arrives unchanged, or the call refuses it
with the reason. Classes travel by name, as `shared.calls.references` allows.

    writing     a value as bytes              reading    bytes as a value
    describing  the form of each value        graph      one object under two names
    kinds       built-in kinds                objects    classes: name and state
    values      of the standard library       arrays, tables, images  numpy, pandas, Pillow
"""

from typing import Any

from shared.calls import graph
from shared.calls.describing import parts_of
from shared.calls.kinds import GRAPH, REFERENCE, TooDeep
from shared.calls.parcels import Large, Payload, Purpose, keeping
from shared.calls.reading import unpack
from shared.calls.writing import Encoder, Shared, spare
from shared.errors import DaySixError, MessageTooLarge, NotPortable
from shared.handles import base
from shared.settings import current


def dumps(value: Any, *, what: str = "the value", purpose: Purpose | None = None) -> bytes:
    """Encode a value. Raises `NotPortable`, `NotAllowed` or `MessageTooLarge`; `what` names it.

    With a purpose, large arrays are stored beside the message, and the result is a `Payload`.
    """
    try:
        return _dump(value, what)
    except Large:
        base.collect_anew()
    with keeping(purpose) as kept:
        data = _dump(value, what)
    if kept:
        data = Payload(data)
        data.kept = kept
    return data


def _dump(value: Any, what: str) -> bytes:
    limit = current().message_limit_bytes
    try:
        try:
            encoder = spare.pop()
        except IndexError:
            encoder = Encoder()
        try:
            data = encoder.encode(value, limit)
        except Shared:
            data = _dump_graph(value, limit)
    except MessageTooLarge as error:
        raise MessageTooLarge(what, error.size_bytes, error.limit_bytes) from None
    except DaySixError:
        raise
    except (TooDeep, RecursionError):
        raise NotPortable(what, "it is nested too deeply") from None
    except (ValueError, OverflowError) as error:
        # msgpack raises ValueError for too many nested lists.
        deep = "recursion" in str(error)
        reason = "it is nested too deeply" if deep else f"{type(error).__name__}: {error}"
        raise NotPortable(what, " ".join(reason.split())) from None
    if len(data) > limit:
        raise MessageTooLarge(what, len(data), limit)
    return data


def loads(data: bytes) -> Any:
    """Decode a value that `dumps` encoded.

    Raises `NotPortable` or `NotAllowed` for other bytes, and `MessageTooLarge`.
    """
    limit = current().message_limit_bytes
    if len(data) > limit:
        raise MessageTooLarge("a message", len(data), limit)
    try:
        return unpack(data)
    except DaySixError:
        raise
    except Exception as error:
        # Refuse any damaged bytes in the same way.
        raise NotPortable("a message", f"its bytes are damaged ({type(error).__name__})") from None


def _dump_graph(value: Any, limit: int) -> bytes:
    base.collect_anew()
    return graph.dump(value, limit, parts_of, (GRAPH, REFERENCE))

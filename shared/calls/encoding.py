"""Encodes a call: a function by reference and its arguments, as bytes to send."""

import functools
import reprlib
import types
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from kombu.serialization import loads as deserialize

from shared import errors
from shared.broker import messages
from shared.calls import codec, harmless, references
from shared.calls.parcels import Payload, Purpose
from shared.errors import MessageTooLarge
from shared.settings import current

NAME = "call"
PROCESS = "process"
# The tasks of library calls, whose outcome goes to the caller's reply stream.
NAMES = (NAME, PROCESS)


class Mode(StrEnum):
    """How the items of a chunk become arguments."""

    APPLY = "apply"  # (args, kwargs)
    MAP = "map"  # one argument
    STARMAP = "starmap"  # a tuple of arguments


def name_of(function: Callable[..., Any]) -> str:
    """The function's dotted name, as Flower and the logs show it."""
    return _reference(function).replace(":", ".")


def _reference(function: Any) -> str:
    """The reference of the function inside partials and bound methods.

    For a callable object it is the reference of its class.
    """
    if type(function) is types.FunctionType:
        return references.reference(function)
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, types.MethodType) and harmless.name_of(function) is None:
        function = function.__func__
    if isinstance(function, types.BuiltinMethodType):  # `", ".join`, `{}.get`
        listed = harmless.method_of(function.__self__, function.__name__)
        if listed is not None:
            return listed
    if not hasattr(function, "__qualname__"):
        function = type(function)
    return references.reference(function)


def encode_call(
    function: Callable[..., Any], mode: Mode, items: Sequence[Any]
) -> tuple[str, bytes]:
    """The name to show and the bytes to send.

    Raises TypeError, `NotPortable`, `NotAllowed` or `MessageTooLarge` if the call cannot be sent.
    """
    if not callable(function):
        raise TypeError(f"{function!r} is not callable")
    reference = _reference(function)
    mark = references.fingerprint(reference.partition(":")[0])
    # Partials, methods and callable objects carry data besides their reference.
    plain = isinstance(function, types.FunctionType)
    name, head = _heads.get((reference, mark, mode), ("", b"")) if plain else ("", b"")
    if not head:
        name, head = _head(reference, function, mark, mode)
        if plain:
            _heads[reference, mark, mode] = name, head
    what = f"the arguments of {name}"
    data = codec.dumps(items, what=what, purpose=Purpose.CALL)
    payload = head + data
    if type(data) is Payload:
        payload = Payload(payload)
        payload.kept = data.kept
    if len(payload) > (limit := current().message_limit_bytes):
        raise MessageTooLarge(what, len(payload), limit)
    return name, payload


_heads: dict[tuple[str, str, Mode], tuple[str, bytes]] = {}


def _head(reference: str, function: Any, mark: str, mode: Mode) -> tuple[str, bytes]:
    """The name to show, and the bytes that all calls of a function share."""
    name = reference.replace(":", ".")
    module = reference.partition(":")[0]
    parts = (name, function, module, mark, mode.value)
    # The start of an array of six: these parts and the items.
    return name, b"\x96" + b"".join(map(codec.dumps, parts))


def arguments_repr(mode: Mode, items: Sequence[Any]) -> tuple[str, str]:
    """The arguments of a chunk as text, for Flower and the logs."""
    if len(items) == 1:
        if mode is Mode.APPLY:
            args, kwargs = items[0]
            return short(tuple(args)), short(kwargs) if kwargs else "{}"
        return short((items[0],) if mode is Mode.MAP else tuple(items[0])), "{}"
    return f"({span(items, 'items')})", "{}"


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 200


def span(items: Sequence[Any], what: str) -> str:
    """The number of items, the first one and the last one, as text."""
    return f"{len(items)} {what}: {short(items[0])} … {short(items[-1])}"


def short(value: Any) -> str:
    # `_brief` reads only the first items of a container.
    return errors.short(value, 200, shown=_brief.repr)


def body_of(message: dict[str, Any]) -> Any:
    """The decoded body of a message. Raises if the body is damaged."""
    return deserialize(
        messages.body(message),
        message.get("content-type"),
        message.get("content-encoding"),
        accept={"application/json", "application/x-msgpack"},
    )

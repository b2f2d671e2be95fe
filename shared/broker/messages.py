"""Reads and checks messages: their parts, delivery tag and history.

`read` is the only check that a message is whole. All code that reads a message calls it first.
After the check, every part of the message has an expected type, size and depth.
"""

import binascii
import contextlib
import json
import re
import time
from collections.abc import Callable
from types import NoneType
from typing import Any

import orjson
from kombu.utils.json import loads

from shared.broker import packing
from shared.broker.keys import TAKEN
from shared.errors import MessageTooLarge
from shared.settings import current

# The header that lists the workers that were lost while they had this message.
HISTORY = "lost_workers"
# The header with the time when our producer sent the message, in seconds by its clock.
SENT_AT = "sent_at"
UNREADABLE = "it cannot be decoded"
REFUSED = "the worker refused it"
LOST = "its worker was lost"

# The limit for the headers and properties of a message together.
ENVELOPE_BYTES = 1024 * 1024
_NAME_LENGTH = 1_000
_DEPTH = 32
_BODY_DEPTH = 100
_VALUES = 10_000
# JSON up to this size needs little memory, regardless of its content.
_SMALL_BYTES = 64 * 1024
_FRAME_BYTES = 64 * 1024
_BODY_FIRST = b'{"body": "'
_BACKSLASH = ord("\\")

_JSON = "application/json"
# The start of an object in kombu's JSON whose type JSON does not have.
_TYPED = b"__type__"

_Types = frozenset[Any]

_TEXT: _Types = frozenset({str, NoneType})
_WHOLE: _Types = frozenset({int, NoneType})
_FLAG: _Types = frozenset({bool, NoneType})
_LIST: _Types = frozenset({list, NoneType})
_DICT: _Types = frozenset({dict, NoneType})

# Headers whose types Celery and kombu rely on. They include the attributes of Celery's `Context`,
# because a header of that name replaces Celery's own value.
_HEADERS: dict[str, _Types] = {
    **dict.fromkeys(("id", "task"), frozenset({str})),
    **dict.fromkeys(
        ("root_id", "parent_id", "group", "shadow", "lang", "origin", "argsrepr", "kwargsrepr"),
        _TEXT,
    ),
    **dict.fromkeys(("eta", "expires", "compression", "meth", "taskset", "hostname"), _TEXT),
    **dict.fromkeys(("reply_to", "correlation_id", "logfile", "replaces"), _TEXT),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), _WHOLE),
    **dict.fromkeys(("ignore_result", "is_eager", "called_directly", "utc"), _FLAG),
    **dict.fromkeys(("timelimit", "stamped_headers", "callbacks", "errbacks"), _LIST),
    **dict.fromkeys(("chain", "args", "children", HISTORY), _LIST),
    **dict.fromkeys(("stamps", "chord", "kwargs", "delivery_info", "properties"), _DICT),
    "headers": _DICT,
    "loglevel": frozenset({int, str, NoneType}),
}
_PROPERTIES: dict[str, _Types] = {
    **dict.fromkeys(("correlation_id", "reply_to", "message_id", "body_encoding"), _TEXT),
    **dict.fromkeys(("type", "user_id", "app_id", "cluster_id"), _TEXT),
    **dict.fromkeys(("priority", "delivery_mode"), _WHOLE),
    "delivery_info": frozenset({dict}),
    "delivery_tag": frozenset({str, int, NoneType}),
    "expiration": frozenset({str, int, float, NoneType}),
}
# Headers that become part of Redis keys, logs and lists.
_NAMES = ("id", "task", "root_id", "parent_id", "group")
# Other encodings of Python may decompress, or need quadratic time.
_ENCODINGS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "binary", "ascii-8bit", "latin-1", "iso-8859-1"}
)
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class NotAMessage(ValueError):
    """Raised for an invalid message. The text becomes the reason of the dead letter."""


def tag(owner: str, number: int) -> str:
    """Return the delivery tag of a message: its owner's key, and its number there."""
    return f"{TAKEN}{owner}#{number}"


def parse_tag(delivery_tag: str) -> tuple[str, str] | None:
    """Return the key and field of a taken message; None for another transport's tag."""
    key, mark, number = delivery_tag.rpartition("#")
    return (key, number) if mark and key.startswith(TAKEN) else None


def largest() -> int:
    """Return the largest size of a message in a list, in bytes. Base64 makes a body a third longer."""
    return current().message_limit_bytes * 3 // 2 + ENVELOPE_BYTES


def read(text: bytes) -> dict[str, Any]:
    """Return a message of kombu's with its body decoded and decompressed. Raises `NotAMessage`.

    The check of an ordinary message takes a few microseconds. It does not deserialize the body,
    because only the worker knows the accepted content types. A JSON body that is nested too
    deeply is refused here, because every later reader would fail.
    """
    _check_size(text)
    message = _load(text)
    _check_parts(message, plain=text.isascii() and b"\\" not in text)
    if _TYPED in text:
        message = _load_typed(text)
    headers, properties = message["headers"], message["properties"]
    body = message["body"]
    if body:
        body = _BODIES[properties.get("body_encoding")](body)
        message["body"], properties["body_encoding"] = body, None
        if "compression" in headers:
            message["body"] = body = _unpacked(body, headers.pop("compression"))
        if len(body) > (limit := body_limit()):
            raise NotAMessage(f"its body has {len(body)} bytes, the limit is {limit}")
        if message.get("content-type") == _JSON:
            _check_depth(body, _BODY_DEPTH)
    return message


def parse(text: bytes) -> dict[str, Any] | None:
    """Return a message as its JSON has it, with its body encoded; None for an invalid message.

    The result can be serialized again.
    """
    try:
        read(text)
        return _load(text)
    except NotAMessage:
        return None


def parts(text: bytes) -> dict[str, Any]:
    """Return the valid headers, properties and body of any message, even of an invalid one.

    Invalid values are left out, so any part may be missing.
    """
    found: dict[str, Any] = {"headers": {}, "properties": {}, "body": ""}
    try:
        _check_number_of_values(text)
        message = _load(text)
    except NotAMessage:
        return found
    for name, kinds in (("headers", _HEADERS), ("properties", _PROPERTIES)):
        part = message.get(name)
        for key, value in part.items() if type(part) is dict else ():
            with contextlib.suppress(NotAMessage):
                _check_types({key: value}, kinds, {}, plain=False)
                _check_name(key, value)
                found[name][key] = value
    for name in ("body", "content-type", "content-encoding"):
        if type(message.get(name)) is str:
            found[name] = message[name]
    if sender := found["properties"].get("correlation_id"):
        with contextlib.suppress(NotAMessage):
            _check_name("id", sender)
            # Celery stores a task's id here too.
            found["headers"].setdefault("id", sender)
    return found


def check_task(headers: dict[str, Any]) -> None:
    """Raise `NotAMessage` if Celery cannot use these headers of a task."""
    _check_types(headers, _HEADERS, _seen_headers, plain=False)
    _check_task(headers)


def check_sendable(message: dict[str, Any]) -> None:
    """Raise `MessageTooLarge` if workers would refuse this message of kombu's for its size."""
    headers, properties = message["headers"], message["properties"]
    text, compression = message.get("body") or "", headers.get("compression")
    is_base64 = properties.get("body_encoding") == "base64"
    size, limit = len(text) * 3 // 4 if is_base64 else len(text), body_limit()
    if compression and size <= limit:
        try:
            packing.unpack(_base64(text) if is_base64 else text.encode(), compression, limit)
        except packing.TooLarge:
            size = limit + 1  # at least
    if size > limit:
        what = f"the arguments of {headers['task']}" if "task" in headers else "the message"
        raise MessageTooLarge(what, size, limit)


def count_lost(message: dict[str, Any], worker: str) -> list[dict[str, Any]]:
    """Add a lost worker to a message's history. Returns the history."""
    headers = message["headers"]
    headers[HISTORY] = [
        *(headers.get(HISTORY) or []),
        {"worker": worker, "at": round(time.time(), 3)},
    ]
    return list(headers[HISTORY])


def body(message: dict[str, Any]) -> bytes:
    """Return the decoded body from a message's `parts`. Raises `NotAMessage` if damaged."""
    encoding = message["properties"].get("body_encoding")
    found = _BODIES.get(encoding, _base64)(message["body"])
    return _unpacked(found, message["headers"].get("compression"))


def _unpacked(body: bytes, compression: str | None) -> bytes:
    if not compression:
        return body
    limit = body_limit()
    try:
        return packing.unpack(body, compression, limit)
    except packing.TooLarge:
        raise NotAMessage(f"{REFUSED}: unpacked it has more than {limit} bytes") from None
    except Exception as error:
        reason = f"{UNREADABLE}: {compression!r:.50} does not unpack it: {error!s:.100}"
        raise NotAMessage(reason) from error


def body_limit() -> int:
    """Return the largest size of a decompressed body, in bytes."""
    # The frame around the arguments does not count towards the limit of a call.
    return current().message_limit_bytes + _FRAME_BYTES


def _check_size(text: bytes) -> None:
    if len(text) > (limit := largest()):
        raise NotAMessage(f"it has {len(text)} bytes, the limit is {limit}")
    if len(text) > _SMALL_BYTES:
        _check_number_of_values(text)


def _check_number_of_values(text: bytes) -> None:
    """Refuse JSON that would need many times its size in memory, before it is parsed."""
    if text.startswith(_BODY_FIRST):
        # kombu writes the body first, in base64: it ends at the next quote.
        end = text.find(b'"', len(_BODY_FIRST))
        if len(text) - end < _SMALL_BYTES and text[end - 1] != _BACKSLASH:
            return
    if len(text) > _SMALL_BYTES and len(_STRINGS.sub(b"", text)) > _SMALL_BYTES:
        raise NotAMessage(f"{UNREADABLE}: its headers have too many values")


def _load(text: bytes) -> dict[str, Any]:
    message = _canonical(text) if len(text) <= _SMALL_BYTES else None
    if message is None:
        try:
            message = _decode(text.decode())
        except NotAMessage:
            raise
        except (ValueError, RecursionError) as error:
            raise NotAMessage(f"{UNREADABLE}: {error!s:.200}") from error
    if type(message) is not dict:
        raise NotAMessage(f"{UNREADABLE}: it is a {type(message).__name__}")
    if message.get("headers") is None:
        message["headers"] = {}
    return message


def _canonical(text: bytes) -> Any:
    """Return the value of a JSON text if writing it again gives the same text, without its spaces.

    Then no name is repeated and no number is out of range. Otherwise, return None.
    """
    try:
        value = orjson.loads(text)
        again = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    except (ValueError, TypeError):
        return None
    return value if again.translate(None, b" ") == text.translate(None, b" ") else None


def _load_typed(text: bytes) -> dict[str, Any]:
    """Parse a message with kombu's additional JSON types."""
    try:
        message: Any = loads(text)
        if message.get("headers") is None:
            message["headers"] = {}
        found = {type(message[name]) for name in ("headers", "properties")}
        if found == {dict} and type(message["body"]) is str:
            return dict(message)
        error: Exception = TypeError("a part is of another type")
    except Exception as raised:
        error = raised
    raise NotAMessage(f"{UNREADABLE}: {error!r:.200}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    part = dict(pairs)
    if len(part) != len(pairs):
        raise NotAMessage(f"{UNREADABLE}: a part of it stands there twice")
    return part


def _integer(digits: str) -> int:
    if len(digits) > 18 and not -(2**63) <= int(digits[:30]) < 2**63:
        raise NotAMessage(f"{UNREADABLE}: {digits:.30}… is too large a number")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if number - number != 0:
        raise NotAMessage(f"{UNREADABLE}: {digits:.30} is no number")
    return number


_decode: Callable[[str], Any] = json.JSONDecoder(
    object_pairs_hook=_once,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_fraction,
).decode


def _check_parts(message: dict[str, Any], *, plain: bool) -> None:
    """Check each part. `plain` means that the message is ASCII without escapes."""
    headers, properties = message["headers"], message.get("properties")
    if type(headers) is not dict or type(properties) is not dict:
        raise NotAMessage(f"{UNREADABLE}: its headers or properties are no objects")
    if type(message.get("body")) is not str:
        raise NotAMessage(f"{UNREADABLE}: its body is no text")
    kind, encoding = message.get("content-type"), message.get("content-encoding")
    if kind != _JSON and not (kind is None or (type(kind) is str and len(kind) <= _NAME_LENGTH)):
        raise NotAMessage(f"{REFUSED}: its content type is no text: {kind!r:.100}")
    if not (encoding is None or (type(encoding) is str and encoding.lower() in _ENCODINGS)):
        raise NotAMessage(f"{REFUSED}: its content encoding is not one of text: {encoding!r:.100}")
    _check_types(properties, _PROPERTIES, _seen_properties, plain=plain)
    if "task" in headers:
        _check_types(headers, _HEADERS, _seen_headers, plain=plain)
        _check_task(headers)
    else:
        _check_types(headers, {}, {}, plain=False)
    encoding = properties.get("body_encoding")
    if encoding not in _BODIES:
        raise NotAMessage(f"{UNREADABLE}: its body is not in base64: {encoding!r:.100}")


def _check_types(
    part: dict[str, Any],
    kinds: dict[str, _Types],
    seen: dict[tuple[Any, ...], list[str]],
    *,
    plain: bool,
) -> None:
    # Messages of one sender have the same names and types. Look them up together.
    looks = (*part, *map(type, part.values()))
    holding = seen.get(looks)
    if holding is None or not plain:
        _check_values(part, kinds)
        holding = [name for name, value in part.items() if type(value) in (list, dict)]
        if len(looks) < _LOOKS:
            if len(seen) >= _LOOKS:
                seen.clear()
            seen[looks] = holding
    for name in holding:
        value = part[name]
        if not value or value == _NO_LIMITS:
            continue
        if not (plain and type(value) is dict and _FLAT.issuperset(map(type, value.values()))):
            _check_nested(name, value)


def _check_values(part: dict[str, Any], kinds: dict[str, _Types]) -> None:
    for name, value in part.items():
        allowed = kinds.get(name)
        if allowed is not None and type(value) not in allowed:
            if name == "task":
                raise NotAMessage(f"no worker knows the task {value!r:.100}")
            expected = " or ".join(sorted(k.__name__ for k in allowed if k is not NoneType))
            blame = UNREADABLE if kinds is _PROPERTIES else REFUSED
            raise NotAMessage(f"{blame}: its {name} is no {expected}: {value!r:.100}")
        _check_text("headers", name)
        if type(value) is str:
            _check_text(name, value)


def _check_nested(name: str, value: Any) -> None:
    """Check the values inside a list or dict, level by level."""
    level, count = [value], 0
    for _ in range(_DEPTH):
        inner: list[Any] = []
        for one in level:
            if type(one) is dict:
                inner.extend(one)
                inner.extend(one.values())
            elif type(one) is list:
                inner.extend(one)
            elif type(one) is str:
                _check_text(name, one)
        count += len(inner)
        if count > _VALUES:
            raise NotAMessage(f"{REFUSED}: its {name:.100} holds more than {_VALUES} values")
        if not inner:
            return
        level = inner
    raise NotAMessage(f"{REFUSED}: its {name:.100} is nested too deeply")


def _check_text(name: str, value: str) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotAMessage(f"{REFUSED}: its {name!a:.100} is no text: {value!a:.100}") from None


def _check_task(headers: dict[str, Any]) -> None:
    if not headers.get("id"):
        raise NotAMessage(f"{REFUSED}: it has no id")
    for name in _NAMES:
        if value := headers.get(name):
            _check_name(name, value)
    stamped = headers.get("stamped_headers")
    if stamped and any(type(name) is not str for name in stamped):
        raise NotAMessage(f"{REFUSED}: its stamped_headers are not names: {stamped!r:.100}")
    limits = headers.get("timelimit")
    if limits and not (len(limits) == 2 and {type(limit) for limit in limits} <= _LIMITS):
        raise NotAMessage(f"{REFUSED}: its timelimit is not two numbers: {limits!r:.100}")
    if limits and any(limit is not None and limit < 0 for limit in limits):
        raise NotAMessage(f"{REFUSED}: its timelimit is less than 0: {limits!r:.100}")
    if (retries := headers.get("retries")) and retries < 0:
        raise NotAMessage(f"{REFUSED}: its retries are less than none: {retries}")


def _check_name(name: str, value: Any) -> None:
    if name in _NAMES and value and not (value.isprintable() and len(value) <= _NAME_LENGTH):
        raise NotAMessage(
            f"{REFUSED}: its {name} is no printable text of at most {_NAME_LENGTH} "
            f"characters: {value!a:.100}"
        )


_NO_LIMITS = [None, None]
_FLAT = frozenset({str, int, float, bool, NoneType})
_LIMITS = {int, float, NoneType}


def _check_depth(text: bytes, deepest: int) -> None:
    """Refuse JSON that is nested about twice as deep. Most JSON has fewer brackets at all."""
    if len(text) <= deepest or (_few(text, b"[", deepest) and _few(text, b"{", deepest)):
        return
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Adjacent quotes contain no bracket.
    bones = text.translate(None, delete=_NO_BONES).replace(b'""', b"")
    bones = _STRINGS.sub(b"", bones)
    # Each iteration removes the innermost level.
    for _ in range(deepest):
        shorter = bones.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(bones):
            return  # no level is left, or this is no JSON, which its decoder will report
        bones = shorter
    raise NotAMessage(f"{UNREADABLE}: it is nested too deeply")


def _few(text: bytes, letter: bytes, number: int) -> bool:
    """True if the letter occurs at most `number` times. `bytes.count` takes ten times as long."""
    at = -1
    return any((at := text.find(letter, at + 1)) < 0 for _ in range(number))


_NO_BONES = bytes(set(range(256)) - set(b'[]{}"'))


def _base64(body: str) -> bytes:
    try:
        return binascii.a2b_base64(body)
    except ValueError as error:
        raise NotAMessage(f"{UNREADABLE}: its body is not base64: {error}") from None


_BODIES: dict[str | None, Callable[[str], bytes]] = {
    "base64": _base64,
    **dict.fromkeys((None, "", "utf-8", "UTF-8"), str.encode),
}

# Valid combinations of names and types → the names of nested values.
_seen_headers: dict[tuple[Any, ...], list[str]] = {}
_seen_properties: dict[tuple[Any, ...], list[str]] = {}
_LOOKS = 1_000


def queue_of(delivery_info: Any) -> str:
    """Return the queue of a running task, from its request; "unknown" for an invalid value."""
    name = delivery_info.get("routing_key") if isinstance(delivery_info, dict) else None
    return name if isinstance(name, str) and name else "unknown"

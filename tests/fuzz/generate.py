"""What is generated: messages that are wrong in some part, and entries that no one of ours wrote."""

import base64
import bz2
import copy
import json
import lzma
import math
import uuid
import zlib

import msgpack

from shared.broker import keys
from tests.chaos import hostile
from tests.chaos.bench import QUEUE, message

STREAM = keys.REPLIES + "fuzz"

_SURROGATE, _LONG = "\ud800", "x" * 2_000
_DEEP = [json.loads("[" * depth + "]" * depth) for depth in (10, 40, 450, 900)]
_VALUES = [
    *hostile._VALUES,
    *(_SURROGATE, _LONG, "a\nb", "\x1b[31m", "\x00", "é🎉", -1, 10**400, 2**64, -(2**63) - 1),
    *(math.inf, -math.inf, 1e300, 0.1, False, ["x"] * 50, {"x": [1] * 50}, {_SURROGATE: 1}),
    *(_DEEP + [{"a": deep} for deep in _DEEP]),
]
_PACKINGS = {
    **dict.fromkeys(("zlib", "gzip", "application/x-gzip"), zlib.compress),
    **dict.fromkeys(("bzip2", "application/x-bz2"), bz2.compress),
    **dict.fromkeys(("lzma", "xz", "application/x-lzma"), lzma.compress),
    **dict.fromkeys(("brotli", "zstd", "rar"), bytes),
}
_TYPES = ("application/json", "application/x-msgpack", "application/x-yaml", "text/plain")
_TYPES += ("application/x-python-serialize", "application/data", "", _SURROGATE)
_ENCODINGS = ("utf-8", "binary", "utf-16", "zlib", "idna", "rot13", "", "base64")
_PRIME = 2**61 - 1


def note(random):
    """An ordinary message of a task that notes nothing that is counted."""
    return json.loads(message("note", [0, 0.0]))


def call(random):
    """A call as a pool sends it; its payload may be anything."""
    from shared.calls import codec, encoding

    name, payload = encoding.encode_call(abs, encoding.Mode.APPLY, [[[-1], {}]])
    bombs = (
        b"",
        random.randbytes(50),
        payload[: random.randrange(len(payload))],
        b"\x91" * 600,
        codec.dumps(["f", None, "m", "", "apply", []]),
        _extended(2, [_integer(number * _PRIME) for number in range(3_000)]),
        _extended(14, [_integer(3**200_000), _integer(5**200_000)]),
        _integer(7**300_000).data,
    )
    payload = random.choice((payload, *bombs))
    whole = note(random)
    body = [[payload, STREAM, random.choice(({}, {}, 7, {"go_on": 1}, {"setup": [b""]}))], {}, {}]
    whole["headers"] |= {"task": random.choice(encoding.NAMES), "shadow": name}
    whole["headers"]["ignore_result"] = True
    whole["properties"]["reply_to"] = STREAM
    whole["content-type"], whole["content-encoding"] = "application/x-msgpack", "binary"
    whole["body"] = base64.b64encode(msgpack.packb(body)).decode()
    return whole


def _integer(number):
    return msgpack.ExtType(5, msgpack.packb(f"{number:x}"))


def _extended(code, parts):
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb(parts)))


def _replace(random, whole):
    """Replace, remove or add some part."""
    places = [whole, whole["headers"], whole["properties"]]
    places.append(whole["properties"].get("delivery_info"))
    place = random.choice([place for place in places if isinstance(place, dict)])
    names = list(place) + (hostile._HEADERS if place is whole["headers"] else hostile._PROPERTIES)
    name = random.choice([*names, "tenant", _SURROGATE])
    if random.random() < 0.2:
        place.pop(name, None)
    else:
        place[name] = copy.copy(random.choice(_VALUES))


def _body(random, whole):
    value = copy.copy(random.choice(_VALUES))
    body = [[0, 0.0], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    how = random.randrange(6)
    if how == 0:
        body = value
    elif how == 1:
        body[random.randrange(3)] = value
    elif how == 2:
        body[2][random.choice(hostile._EMBEDDED)] = random.choice(
            (value, [value], {"task": value}, [{"task": "note", "args": [0, 0], "options": value}])
        )
    elif how == 3:
        # Celery's first protocol, and the hybrid of both.
        body = {"task": "note", "id": str(uuid.uuid4()), "args": [0, 0.0], "kwargs": {}}
        body[random.choice([*body, "eta", "retries", "taskset", "callbacks"])] = value
        if random.random() < 0.5:
            whole["headers"] = {}
    text = json.dumps(body)
    if how == 4:
        text = text[: random.randrange(len(text))]
    if how == 5:
        text = "[" * random.choice((50, 150, 500, 2_000)) + text
    whole["body"] = base64.b64encode(text.encode()).decode()


def _pack(random, whole):
    name, pack = random.choice(list(_PACKINGS.items()))
    try:
        body = base64.b64decode(whole["body"])
    except (KeyError, TypeError, ValueError):
        body = b""  # an earlier change has damaged it
    body = random.choice((body, body, b"\0" * 50_000_000, b"", random.randbytes(100)))
    packed = pack(body) if random.random() < 0.9 else body
    whole["headers"]["compression"] = name
    whole["body"] = base64.b64encode(packed[:5_000_000]).decode()


def _content(random, whole):
    whole[random.choice(("content-type", "content-encoding"))] = random.choice(_TYPES + _ENCODINGS)


def _text(random, whole):
    """The message as bytes, perhaps with a part twice, cut, or with other bytes in it."""
    text = json.dumps(whole)
    how = random.randrange(12)
    if how == 0:
        name = random.choice(("headers", "properties", "body", "id", "task"))
        text = text.replace(f'"{name}":', f'"{name}": {random.choice(("1", "{}"))}, "{name}":', 1)
    data = text.encode()
    if how == 1:
        data = data[: random.randrange(len(data))]
    elif how == 2:
        at = random.randrange(len(data))
        data = data[:at] + random.randbytes(3) + data[at + 3 :]
    elif how == 3:
        data = random.choice(
            (b"", b"\xff", b"null", b"[]", b"{}", b"1", data.replace(b"}", b"", 1))
        )
    elif how == 4:
        data = data.replace(b'"headers": {', b'"headers": {"a": [' + b"[]," * 200_000 + b"1],", 1)
    return data


def messages(random, number):
    """So many messages; each is wrong in one to three ways, which may do no harm."""
    for _ in range(number):
        whole = random.choice((note, note, call))(random)
        for _ in range(random.choice((1, 1, 2, 3))):
            random.choice((_replace, _replace, _body, _pack, _content))(random, whole)
            if not all(isinstance(whole.get(part), dict) for part in ("headers", "properties")):
                break
        yield _text(random, whole)


def odd_entries(random, client):
    """Put something that is not ours into each structure that a worker or a client reads."""

    def odd():
        return random.choice(
            [
                *(
                    b"",
                    b"\xff",
                    b"x",
                    b"[]",
                    b"{}",
                    b"null",
                    b"1e999",
                    b'{"until": "x"}',
                    b"\n",
                    b"#",
                ),
                *(random.randbytes(8), b"9" * 400, f"{QUEUE}\n".encode(), b"\x00" * 9),
            ]
        )

    owner = random.choice((b"odd:", b"odd@here:", b"\xff:", b"")) + random.randbytes(4)
    client.hset(keys.TAKEN.encode() + owner, mapping={odd(): odd() for _ in range(3)})
    client.sadd(keys.BURIED, owner, odd())
    client.zadd(keys.OWNERS, {odd(): random.choice((1, -math.inf))})
    client.sadd(keys.OWNER_NAMES, odd())
    client.set(keys.RENEWED_AT, odd())
    client.zadd(keys.WITHDRAWN, {odd(): 1})
    client.hset(keys.WORKERS, odd(), odd())
    client.zadd("unacked_index", dict.fromkeys((odd(), odd()), 1))
    client.hset("unacked", odd(), odd())
    client.hset(keys.DEAD_QUEUES, QUEUE, odd())
    client.hset(keys.COUNTS, odd(), odd())
    client.set(keys.RESULT.encode() + odd(), odd())
    client.xadd(STREAM, {odd() or b"x": odd()})

"""What is a whole message, and what is not: asked before anything else looks at it."""

import base64
import bz2
import json
import lzma
import time
import tracemalloc
import uuid
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.broker import messages, packing
from shared.broker.messages import NotAMessage
from shared.settings import current
from tests.chaos.bench import message

LIMIT = 1024 * 1024


@pytest.fixture(autouse=True)
def _limit(monkeypatch):
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", str(LIMIT))
    current.cache_clear()
    yield
    monkeypatch.undo()
    current.cache_clear()


def variant(**changes):
    """A message of kombu's with some of its parts replaced."""
    whole = json.loads(message("sleep", [0]))
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            whole[part][key] = value
        else:
            whole[part.replace("_", "-")] = value
    return json.dumps(whole).encode()


def nested(depth, inner="1"):
    return json.loads("[" * depth + inner + "]" * depth)


def encoded(body):
    return base64.b64encode(body).decode()


def packed(compression, pack, body):
    return variant(headers__compression=compression, body=encoded(pack(body)))


WHOLE = {
    "ordinary": variant(),
    "every header of Celery's": variant(
        headers__argsrepr="()",
        headers__group=str(uuid.uuid4()),
        headers__group_index=3,
        headers__ignore_result=False,
        headers__stamped_headers=["tenant"],
        headers__stamps={"tenant": ["a"]},
        headers__timelimit=[1, None],
        headers__retries=2,
        headers__expires="2030-01-01T00:00:00",
        headers__lost_workers=[{"worker": "a", "at": 1.5}],
    ),
    "headers of its sender's own": variant(headers__tenant={"a": [1, {"b": None}]}),
    "letters of all kinds": variant(headers__argsrepr="('Grüße 🎉',)", headers__id="Grüße"),
    "a typed header": variant(
        headers__since={"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}
    ),
    "no headers": json.dumps({**json.loads(variant()), "headers": None}).encode(),
    "a body that is empty": variant(body=""),
    "a body as it is": variant(body="[[], {}, {}]", properties__body_encoding=None),
    "many brackets": variant(body=encoded(json.dumps([[[i] for i in range(9_000)], {}]).encode())),
    "brackets in strings": variant(body=encoded(json.dumps(["[" * 500, '"[' * 500]).encode())),
    "nested as data may be": variant(body=encoded(json.dumps(nested(90)).encode())),
    "zlib": packed("zlib", zlib.compress, b"[[0], {}, {}]"),
    "gzip": packed("application/x-gzip", zlib.compress, b"[[0], {}, {}]"),
    "bzip2": packed("bzip2", bz2.compress, b"[[0], {}, {}]"),
    "lzma": packed("lzma", lzma.compress, b"[[0], {}, {}]"),
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
def test_a_whole_message_is_read_and_can_be_written_again(text):
    read, again = messages.read(text), messages.parse(text)

    assert isinstance(read["headers"], dict)
    assert read["body"] in ("", read["body"])
    assert again["properties"] == json.loads(text)["properties"]
    assert messages.read(json.dumps(again).encode()).keys() == read.keys()


@pytest.mark.parametrize("name", ["zlib", "gzip", "bzip2", "lzma"])
def test_a_packed_body_is_unpacked_and_not_unpacked_again(name):
    read = messages.read(WHOLE[name])

    assert read["body"] == b"[[0], {}, {}]"
    assert "compression" not in read["headers"]


def doubled(part):
    whole = variant().decode()
    return whole.replace(f'"{part}":', f'"{part}": 1, "{part}":', 1).encode()


NOT_WHOLE = {
    "no bytes": b"",
    "bytes": b"\x00\xff",
    "UTF-16": variant().decode().encode("utf-16"),
    "a list": b"[]",
    "an object": b"{}",
    "properties alone": b'{"properties": {}}',
    "no body": json.dumps({"properties": {}, "headers": {}}).encode(),
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep and open": b"[" * 100_000,
    "headers that are a list": variant(headers=[]),
    "headers that are a number": variant(headers=7),
    "properties that are a text": variant(properties="x"),
    "delivery info": variant(properties__delivery_info=7),
    "delivery info that is nothing": variant(properties__delivery_info=None),
    "priority": variant(properties__priority="high"),
    "reply_to": variant(properties__reply_to=[1]),
    "a body that is a number": variant(body=7),
    "a body that is an object": variant(body={}),
    "no base64": variant(body="a"),
    "another encoding of the body": variant(properties__body_encoding="rot13"),
    "an encoding that is a list": variant(properties__body_encoding=[]),
    "content type": variant(content_type=7),
    "long content type": variant(content_type="x" * 5_000),
    "content encoding": variant(content_encoding="zlib"),
    "content encoding that is a number": variant(content_encoding=7),
    "a doubled header": doubled("id"),
    "doubled headers": doubled("headers"),
    "a doubled property": doubled("priority"),
    "no id": variant(headers__id=""),
    "an id that is nothing": variant(headers__id=None),
    "an id that is a list": variant(headers__id=["x"]),
    "an id that is half a letter": variant(headers__id="\ud800"),
    "an id of two lines": variant(headers__id="a\nb"),
    "an id that rings": variant(headers__id="a\x07"),
    "a long id": variant(headers__id="x" * 1_001),
    "a task that is a list": variant(headers__task=["sleep"]),
    "a task that is nothing": variant(headers__task=None),
    "half a letter in a header": variant(headers__argsrepr="\udfff"),
    "half a letter in a header's name": variant(**{"headers__\udfff": "x"}),
    "half a letter deep in a header": variant(headers__tenant=[{"a": "\udfff"}]),
    "retries": variant(headers__retries="many"),
    "retries that are true": variant(headers__retries=True),
    "retries less than none": variant(headers__retries=-1),
    "time limits": variant(headers__timelimit=7),
    "one time limit": variant(headers__timelimit=[1]),
    "time limits of words": variant(headers__timelimit=["a", "b"]),
    "stamps": variant(headers__stamps=[1]),
    "a name of a stamp": variant(headers__stamped_headers=["a", {}]),
    "stamped headers": variant(headers__stamped_headers=7),
    "history": variant(headers__lost_workers=7),
    "eta": variant(headers__eta=7),
    "a huge number": variant(headers__tenant=10**400),
    "a number beyond 64 bits": variant(headers__tenant=2**70),
    "digits without end": b'{"body": "", "headers": {"a": ' + b"9" * 50_000 + b"}}",
    "a fraction that is none": variant(headers__sent_at=float("inf")),
    "no number": variant(headers__sent_at=float("nan")),
    "a large exponent": variant(headers__sent_at=1.5).replace(b"1.5", b"1e999"),
    "a deep header": variant(headers__tenant=nested(40)),
    "a very deep header": variant(headers__tenant=nested(900)),
    "a deep property": variant(properties__x=nested(450)),
    "a wide header": variant(headers__tenant=[0] * 20_000),
    "a wide header of some size": variant(headers__tenant=[[]] * 40_000),
    "a deep body": variant(body=encoded(json.dumps(nested(250)).encode())),
    "a very deep body": variant(body=encoded(b"[" * 5_000 + b"]" * 5_000)),
    "a deep body of objects": variant(body=encoded(b'{"a":' * 300 + b"1" + b"}" * 300)),
    "deep beside brackets in strings": variant(body=encoded(b'["]",' * 300 + b"1" + b"]" * 300)),
    "a body that is too large": variant(body=encoded(b"x" * (LIMIT + 100_000))),
    "too large": b"x" * 3 * LIMIT,
    "another type of time": variant(headers__since={"__type__": "datetime", "__value__": "never"}),
    "another type": variant(headers={"__type__": "uuid", "__value__": {"hex": "0" * 32}}),
    "unknown compression": variant(headers__compression="rar"),
    "compression that is a number": variant(headers__compression=7),
    "damaged": variant(headers__compression="zlib", body=encoded(b"x")),
    "cut": packed("zlib", lambda body: zlib.compress(body)[:-5], b"x" * 1_000),
    "nothing packed": variant(headers__compression="bzip2", body=encoded(b"\0")),
}


@pytest.mark.parametrize("text", NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_what_is_not_whole_is_refused_in_one_line_and_at_once(text):
    began = time.process_time()

    with pytest.raises(NotAMessage) as raised:
        messages.read(text)

    assert time.process_time() - began < 1
    assert messages.parse(text) is None
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400
    known = messages.parts(text)
    json.dumps(known, allow_nan=False).encode()
    assert all(type(known[name]) is dict for name in ("headers", "properties"))


BOMBS = {
    **{
        name: packed(name, pack, b"\0" * 40 * LIMIT)
        for name, pack in (("zlib", zlib.compress), ("bzip2", bz2.compress), ("xz", lzma.compress))
    },
    "values": variant(headers__tenant=0).replace(
        b'"tenant": 0', b'"tenant": [' + b"[]," * 500_000 + b"1]"
    ),
    "values beside a body": variant(x=0).replace(b'"x": 0', b'"x": [' + b"{}," * 500_000 + b"1]"),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_few_bytes_never_take_much_memory(text):
    assert len(text) < 2 * LIMIT
    tracemalloc.start()

    with pytest.raises(NotAMessage):
        messages.read(text)
    messages.parts(text)

    assert tracemalloc.get_traced_memory()[1] < 12 * LIMIT
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["brotli", "zstd"])
def test_an_optional_packing_is_unpacked_within_bounds_or_refused(name):
    kombu = pytest.importorskip("kombu.compression")
    if name not in kombu._aliases:
        with pytest.raises(NotAMessage, match=name):
            messages.read(variant(headers__compression=name))
        return
    text = kombu.compress(b"\0" * 40 * LIMIT, name)[0]

    assert packing.unpack(kombu.compress(b"x", name)[0], name, 10) == b"x"
    with pytest.raises(packing.TooLarge):
        packing.unpack(text, name, LIMIT)


def test_messages_of_many_looks_take_no_memory():
    for number in range(3_000):
        messages.read(variant(**{f"headers__x{number}": 1}))

    assert len(messages._seen_headers) <= messages._LOOKS


def test_a_look_that_is_right_for_properties_is_not_right_for_headers():
    messages.read(variant(properties=json.loads(variant())["headers"]))

    with pytest.raises(NotAMessage):
        messages.read(variant(headers=json.loads(variant(headers__retries="x"))["headers"]))


def test_an_ordinary_message_is_checked_in_microseconds():
    text = variant()
    messages.read(text)
    times = []
    for _ in range(20):
        began = time.process_time()
        for _ in range(200):
            messages.read(text)
        times.append((time.process_time() - began) / 200)

    assert min(times) < 100e-6


def _with_repeated_names(value):
    """Write a value as JSON, and each list of pairs as an object, in which names may be repeated."""
    if type(value) is not list:
        return json.dumps(value)
    if value and all(type(one) is tuple for one in value):
        pairs = (f"{json.dumps(name)}: {_with_repeated_names(inner)}" for name, inner in value)
        return "{" + ", ".join(pairs) + "}"
    return "[" + ", ".join(map(_with_repeated_names, value)) + "]"


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.lists(st.tuples(st.sampled_from(["a", "a ", "b"]), inner)),
).map(_with_repeated_names)


@given(json_texts)
@example('{"a":1,"a":1}')
@example('{"a": 9223372036854775808}')
@example('{"a": 1e999}')
@example('{"a": "\\ud800"}')
@example('{"a b": 1, "ab": 1}')
def test_the_quick_reading_of_json_agrees_with_the_whole_one(text):
    found = messages._canonical(text.encode())

    assert found is None or found == messages._decode(text)

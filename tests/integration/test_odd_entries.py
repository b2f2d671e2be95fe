"""Whatever stands in Redis: each command says something sensible, and shows what is whole."""

import base64
import io
import itertools
import json
import sys
import threading
import time
import uuid

import pytest

from producer import __main__
from shared.broker import keys
from shared.pools import PoolKind
from tests.conftest import forget_settings
from tests.support import RedisServer

GOOD, ODD = str(uuid.uuid4()), str(uuid.uuid4())
NASTY = "a\x1b[31mred\x07\x9b2J\u202etxt\u2066\ud800\udcff\r\nb"
HUGE = "9" * 400
DEEP = "[" * 20_000
QUEUE = PoolKind.PREFORK.value


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


LETTER = {
    "id": ODD,
    "task": "sleep",
    "queue": QUEUE,
    "list": base64.b64encode(QUEUE.encode()).decode(),
    "reason": "why",
    "died": 1e9,
    "worker": "w",
    "deliveries": [],
    "args": "()",
    "kwargs": "{}",
    "traceback": "",
    "message": base64.b64encode(b'{"properties": {}, "headers": {}}').decode(),
}
WORKER = {
    "name": "w",
    "pool": QUEUE,
    "concurrency": 2,
    "pid": 1,
    "running": 0,
    "startup_s": 1.0,
    "process": "p",
    "queues": [QUEUE],
    "running_by_queue": {},
}
OUTCOME = {"status": "SUCCESS", "result": 1, "task_id": ODD, "traceback": None, "children": []}
VALUES = {
    "none": None,
    "a list": [1],
    "an object": {"x": NASTY},
    "a number": 7,
    "many digits": int(HUGE),
    "negative": -(10**400),
    "nasty": NASTY,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "true": True,
}
TEXTS = {
    "no json": b"x",
    "no text": b"\xff\xfe",
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "nested": DEEP.encode(),
    "an object": b"{}",
    "digits": b"1" * 5000,
}


EXCEPTIONS = (
    {"exc_type": NASTY, "exc_message": [NASTY], "exc_module": "os"},
    {"exc_type": "system", "exc_message": ["true"], "exc_module": "os"},
    {"exc_type": [], "exc_message": {}, "exc_module": 5},
    {"exc_type": "ValueError", "exc_message": int(HUGE), "exc_module": "builtins"},
)
LOST = [None, 5, {}, {"worker": NASTY, "at": int(HUGE)}, {"at": "x"}, {"worker": [], "at": -1}]
IDS = (b"\xff\xfe", as_bytes(NASTY), b"", b"x" * 5000)
STRINGS = (keys.DEAD, keys.DEAD_LETTERS, keys.DEAD_QUEUES, keys.COUNTS, keys.WORKERS)
HASHES = (QUEUE, f"{QUEUE}\x06\x163", keys.RESULT + ODD, keys.WITHDRAWN)


def odd_parts(kind, whole):
    """An entry of a kind, with each part in turn odd, or missing."""
    for part in whole:
        for name, value in VALUES.items():
            yield f"{kind}, {part} {name}", (kind, json.dumps({**whole, part: value}))
        without = {key: value for key, value in whole.items() if key != part}
        yield f"{kind} without {part}", (kind, json.dumps(without))


def odd_entries():
    """Each odd entry: a name, and how to put it there."""
    yield from odd_parts("letter", LETTER)
    yield from odd_parts("worker", WORKER)
    yield from odd_parts("outcome", OUTCOME)
    yield "letter of odd losses", ("letter", json.dumps({**LETTER, "deliveries": LOST}))
    yield "worker of a later version", ("worker", json.dumps({**WORKER, "new": 1}))
    yield "worker until x", ("worker", json.dumps({**WORKER, "until": "x"}))
    for number, exception in enumerate([*EXCEPTIONS, *VALUES.values()]):
        meta = {**OUTCOME, "status": "FAILURE", "result": exception}
        yield f"failure {number}", ("outcome", json.dumps(meta))
    for name, value in VALUES.items():
        message = {"properties": {}, "headers": {"sent_at": value}}
        yield f"front sent at {name}", ("front", json.dumps(message))
    for kind in ("letter", "worker", "outcome", "front", "count", "dead count"):
        yield from ((f"{kind} is {name}", (kind, text)) for name, text in TEXTS.items())
    yield from ((f"letter of id {name!r:.20}", ("letter id", name)) for name in IDS)
    yield from ((f"{key} is a string", ("string", key)) for key in STRINGS)
    yield from ((f"{key!r} is a hash", ("hash", key)) for key in HASHES)
    yield "index without a letter", ("index", ODD)


ENTRIES = dict(odd_entries())
LOOKS = [
    ["status"],
    ["status", "--json"],
    ["metrics"],
    ["dead", "list", "--limit", "1000"],
    ["dead", "list", "--limit", "1000", "--json"],
]
OF_ONE = [
    ["dead", "show", ODD],
    ["dead", "show", ODD, "--json"],
    ["result", ODD],
    ["result", ODD, "--json"],
    ["dead", "retry", "--all", "--json"],
    ["dead", "drop", ODD, GOOD],
]


def of_kind(*kinds):
    return [(name, kind, what) for name, (kind, what) in ENTRIES.items() if kind in kinds]


def put(client, kind, what):
    match kind:
        case "front":
            client.rpush(QUEUE, what)
        case "count":
            client.hset(keys.COUNTS, mapping={f"{QUEUE}:done": what, b"\xff": what})
            client.hset(keys.COUNTS, keys.LEASES_LOST, what)
        case "dead count":
            client.hset(keys.DEAD_QUEUES, mapping={QUEUE: what, b"\xff": what})
        case "string":
            client.delete(what)
            client.set(what, "x")
        case "hash":
            client.delete(what)
            client.hset(what, "x", "y")


def put_good(client):
    client.flushdb()
    letter = {**LETTER, "id": GOOD, "task": "the_good_one"}
    client.zadd(keys.DEAD, {GOOD: 3})
    client.hset(keys.DEAD_LETTERS, GOOD, json.dumps(letter))
    line = {
        **WORKER,
        "name": "good",
        "pool": "gevent",
        "queues": ["gevent"],
        "until": time.time() + 1000,
    }
    client.hset(keys.WORKERS, "good", json.dumps(line))
    client.hset(keys.COUNTS, "gevent:done", 5)
    client.lpush("gevent", "1", "2", "3")


@pytest.fixture(scope="module")
def server():
    with RedisServer() as found, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", found.url)
        forget_settings()
        yield found
    forget_settings()


@pytest.fixture
def produce(server, monkeypatch):
    """Run a command in this process; its exit status, what it printed, what it said."""

    def run(*words, encoding="utf-8", columns="120"):
        monkeypatch.setenv("COLUMNS", columns)
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        monkeypatch.setattr(sys, "argv", ["producer", *words])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        for stream in streams:
            stream.flush()
        texts = [stream.buffer.getvalue().decode(encoding) for stream in streams]
        return ended.value.code or 0, *texts

    yield run
    monkeypatch.undo()
    monkeypatch.setenv("REDIS_URL", server.url)


def check(words, status, out, err):
    """What holds for each command, whatever there is in Redis."""
    assert status in (0, 1), (words, err)
    text = (out + err).replace("\n", "").replace("\t", "")
    assert text.isprintable(), (words, text)
    assert "Traceback" not in err, words
    assert all(line.startswith("producer: ") for line in err.splitlines()), (words, err)
    if "--json" in words and out:
        json.loads(out, parse_constant=lambda name: pytest.fail(name))


def check_good(words, out):
    """The whole entries are shown."""
    if words[:2] == ["dead", "list"]:
        assert GOOD in out, words
    if words == ["metrics"]:
        assert 'day_six_queue_length{queue="gevent"} 3.0' in out
    if words == ["status", "--json"]:
        (gevent,) = [pool for pool in json.loads(out) if pool["pool"] == "gevent"]
        assert (gevent["queued"], gevent["workers"], gevent["done"]) == (3, 1, 5)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_odd_dead_letters_are_shown_beside_whole_ones_and_can_be_dropped(server, produce, encoding):
    put_good(server.client)
    ids = [GOOD]
    for number, (_, kind, what) in enumerate(of_kind("letter", "letter id", "index")):
        letter_id = what if kind == "letter id" else f"{ODD}-{number}"
        server.client.zadd(keys.DEAD, {letter_id: 2})
        if kind != "index":
            text = what if kind == "letter" else json.dumps(LETTER)
            server.client.hset(keys.DEAD_LETTERS, letter_id, text)
        shown = letter_id if isinstance(letter_id, bytes) else letter_id.encode()
        ids.append(shown.decode(errors="surrogateescape"))
    more = itertools.cycle([[], ["--json"], []])
    commands = [*LOOKS, *(["dead", "show", one, *next(more)] for one in ids)]

    for words in commands:
        status, out, err = produce(*words, encoding=encoding)
        check(words, status, out, err)
        check_good(words, out)
        assert status == 0, words
    status, out, err = produce("dead", "retry", "--all", "--json", encoding=encoding)
    check(["--json"], status, out, err)
    assert GOOD in out
    status, out, err = produce("dead", "drop", "--all", "--yes", encoding=encoding)
    check([], status, out, err)
    assert status == 0
    assert server.client.zcard(keys.DEAD) == server.client.hlen(keys.DEAD_LETTERS) == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_odd_lines_of_workers_do_not_hide_the_others(server, produce, encoding):
    put_good(server.client)
    until = {"until": time.time() + 1000}
    for number, (_, _, what) in enumerate(of_kind("worker")):
        line = json.dumps({**until, **json.loads(what)}) if isinstance(what, str) else what
        server.client.hset(keys.WORKERS, f"{number}".encode() + b"\xff", line)

    for words in LOOKS:
        status, out, err = produce(*words, encoding=encoding)
        check(words, status, out, err)
        check_good(words, out)


def test_an_odd_outcome_is_said_to_be_one(server, produce):
    put_good(server.client)
    ways = itertools.cycle(itertools.product([[], ["--json"]], ["utf-8", "ascii"]))
    for (name, _, what), (more, encoding) in zip(of_kind("outcome"), ways, strict=False):
        server.client.set(keys.RESULT + ODD, what)
        status, out, err = produce("result", ODD, *more, encoding=encoding)
        check([name, *more], status, out, err)
        assert out or err


@pytest.mark.parametrize(
    "entry", [name for name, *_ in of_kind("front", "count", "dead count", "string", "hash")]
)
def test_an_odd_count_message_or_type_leaves_the_rest_to_be_seen(server, produce, entry):
    put_good(server.client)
    put(server.client, *ENTRIES[entry])

    for words in [*LOOKS, *(OF_ONE if ENTRIES[entry][0] in ("string", "hash") else [])]:
        status, out, err = produce(*words)
        check(words, status, out, err)
        if ENTRIES[entry][0] != "string":
            check_good(words, out)


EVENTS = [
    {"type": "worker-heartbeat", "hostname": "good", "processed": 7, "active": 1},
    {"type": "worker-heartbeat", "hostname": NASTY, "processed": 7, "active": 1},
    {"type": "worker-heartbeat", "hostname": "x", "processed": NASTY, "active": int(HUGE)},
    {"type": "worker-heartbeat", "hostname": [], "processed": 1, "active": 1},
    {"type": "worker-heartbeat"},
    {"type": [], "hostname": "x"},
    {"type": "task-received", "uuid": [], "name": {}},
    {"type": "task-received", "uuid": "1", "name": NASTY},
    {"type": "task-succeeded", "uuid": "1", "hostname": NASTY, "runtime": int(HUGE)},
    {"type": "task-succeeded", "uuid": "2", "hostname": 5, "runtime": "x"},
    {},
]


def event_message(event):
    event = {"timestamp": time.time(), "clock": 1, "utcoffset": 0, "pid": 1, **event}
    body = base64.b64encode(json.dumps(event).encode()).decode()
    return json.dumps(
        {
            "body": body,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"hostname": "x"},
            "properties": {
                "delivery_mode": 1,
                "delivery_info": {"exchange": "celeryev", "routing_key": "x"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_watch_shows_whole_events_among_odd_ones(server, produce, words):
    put_good(server.client)
    over = threading.Event()

    def publish():
        while not over.wait(0.2):
            for event in EVENTS:
                topic = str(event.get("type", "worker")).partition("-")[0]
                server.client.publish(f"/0.celeryev/{topic}.x", event_message(event))
            for text in ("[]", "x", '{"properties": 1}', b"\xff", DEEP):
                server.client.publish("/0.celeryev/worker.x", text)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        status, out, err = produce("watch", "--once", *words)
    finally:
        over.set()
        publisher.join()

    assert status == 0, err
    assert err == ""
    assert out.replace("\n", "").isprintable()
    assert "good" in out
    if words:
        assert [w["processed"] for w in json.loads(out)["workers"] if w["name"] == "good"] == [7]


@pytest.mark.parametrize("columns", ["40", "20", "1", "0", "x"])
@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (["status"], ["1,234,567", "gevent"]),
        (["dead", "list"], []),
        (["tasks"], []),
        (["metrics"], ["1.234567e+06"]),
    ],
)
def test_no_number_is_cut_on_a_narrow_terminal(server, produce, columns, words, whole):
    put_good(server.client)
    server.client.hset(keys.COUNTS, "gevent:done", 1_234_567)

    status, out, _ = produce(*words, columns=columns)

    assert status == 0
    assert "…" not in out
    assert all(part in out for part in whole)
    if words == ["dead", "list"]:
        assert GOOD in out.replace("\n", "")


def test_a_cancelled_task_survives_an_odd_list_of_cancelled_ones(server, produce):
    put_good(server.client)
    put(server.client, "hash", keys.WITHDRAWN)

    status, _, err = produce("cancel", ODD)

    assert status == 1
    assert err.startswith("producer: Redis at ")
    assert "WRONGTYPE" in err
    assert "password" not in err

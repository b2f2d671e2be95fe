"""Nothing that stands in Redis stops a worker, or keeps another message from its task."""

import base64
import json
import signal
import zlib

import psutil
import pytest

from tests.chaos.bench import QUEUE, Bench, message
from tests.support import wait_until

POOLS = ("prefork", "threads", "gevent")


def note(number):
    return message("note", [number, 0.0]).encode()


def nested(depth):
    text = json.loads(note(0))
    text["headers"]["tenant"] = 0
    return json.dumps(text).replace('"tenant": 0', '"tenant": ' + "[" * depth + "]" * depth)


def packed():
    text = json.loads(note(0))
    text["headers"]["compression"] = "zlib"
    text["body"] = base64.b64encode(zlib.compress(b"\0" * 300_000_000, 9)).decode()
    return json.dumps(text)


HOSTILE = [
    b'{"properties": {}}',
    b'{"properties": {}, "headers": {}, "body": ""}',
    b"\xff",
    *(nested(depth) for depth in (40, 450, 600, 900, 5_000)),
    note(0).replace(b'"id": "', b'"id": "\\ud800'),
    note(0).replace(b'"id": "', b'"id": "\\u0000'),
    packed(),
    # Celery's first protocol, and the hybrid of both.
    *(
        json.dumps({**json.loads(note(0)), "headers": {}, "body": base64.b64encode(body).decode()})
        for body in (
            b"7",
            b"[]",
            b"{}",
            b'{"task": []}',
            b'{"task": "no.such"}',
            b'{"task": "note"}',
        )
    ),
    json.dumps({**json.loads(note(0)), "body": base64.b64encode(b'{"args": 7}').decode()}),
    json.dumps(
        {**json.loads(note(0)), "body": base64.b64encode(b'{"args": [1], "kwargs": 7}').decode()}
    ),
    json.dumps({**json.loads(note(0)), "body": base64.b64encode(b"null").decode()}),
]


def leave_behind(bench, first):
    """What a plain worker, a lost one and others have left; the numbers of its good tasks."""
    client, numbers = bench.client, iter(range(first, first + 100))
    plain = [note(next(numbers)) for _ in range(3)]
    for index, text in enumerate(plain):
        entry = json.dumps([json.loads(text), "", QUEUE])
        client.hset("unacked", f"tag-{index}", entry)
        client.zadd("unacked_index", {f"tag-{index}": 1})
    broken = [b"", b"7", b"[]", b"[1, 2, 3]", b"\xff", b'[{"properties": {}}, "", "x"]']
    for index, entry in enumerate(broken):
        client.hset("unacked", f"broken-{index}", entry)
        client.zadd("unacked_index", {f"broken-{index}": 2})
    client.zadd("unacked_index", {"nothing": 1, b"\xff": 1})
    taken = {f"{number}": QUEUE.encode() + b"\n" + note(next(numbers)) for number in range(4)}
    taken |= {
        "4": QUEUE.encode() + b"\n" + note(0).replace(b'"id": "', b'"id": "\\ud800'),
        "5": b"no list",
        "6": b"\xff\n" + note(0),
        "7": b"a-string\n" + note(0),
        "no number": QUEUE.encode() + b"\n" + note(next(numbers)),
        b"\xff": QUEUE.encode() + b"\n" + note(next(numbers)),
        "9" * 50: QUEUE.encode() + b"\n" + b"{}",
    }
    client.set("a-string", "x")
    client.hset(b"taken:gone@here:1", mapping=taken)
    client.hset(b"taken:\xff:2", "1", QUEUE.encode() + b"\n" + note(next(numbers)))
    client.set("taken:a-string:3", "x")
    client.sadd("buried", b"gone@here:1", b"\xff:2", "a-string:3", "nobody", "")
    client.zadd("owners", {b"\xff\xfe": 1, "odd": float("-inf")})
    client.set("owners:renewed", "never")
    client.zadd("withdrawn", {b"\xff": 1, "": 2})
    client.hset("workers", mapping={"odd": "x", "odder": "[]", "oddest": "{}", b"\xff": b"\xff"})
    client.hset("dead:letters", mapping={"odd": "x", "odder": "[]"})
    client.hset("dead:queues", QUEUE, "many")
    client.zadd("dead", {"odd": 1, "odder": 2})
    return list(range(first, next(numbers)))


def dead(bench):
    return [letter for letter in map(_read, bench.client.hvals("dead:letters")) if letter]


def _read(text):
    letter = json.loads(text) if text != b"x" else None
    return letter or None


@pytest.mark.parametrize("pool", POOLS)
def test_whatever_stands_in_redis_the_worker_starts_goes_on_and_does_the_rest(pool):
    with Bench(lease_s=2.0) as bench:
        left = leave_behind(bench, first=1_000)
        for text in HOSTILE:
            bench.client.lpush(QUEUE, text)
        bench.send(10)
        worker = bench.worker(pool, 2)

        def done(number):
            assert worker.poll() is None, bench.log_of(worker)[-3_000:]
            return bench.done() >= number

        wait_until(lambda: done(10 + len(left)), 20, "the good tasks")
        wait_until(lambda: not bench.client.exists("taken:gone@here:1"), 20, "the returning")
        for text in HOSTILE:
            bench.client.lpush(QUEUE, text)
        bench.send(10)
        wait_until(lambda: done(20 + len(left)), 20, "the tasks behind them")
        bench.client.delete("taken:a-string:3")
        wait_until(lambda: not any(bench.taken()), 20, "the acknowledgements")

        numbers = {int(number) for number in bench.notes.smembers("done")}
        assert numbers == {*range(1, 21), *left}
        assert max(int(times) for times in bench.notes.hvals("ran")) == 1
        # Two of each, but those that have an id have one letter for both.
        assert len(dead(bench)) >= len(HOSTILE)
        assert worker.poll() is None
        assert "Connection to broker lost" not in bench.log_of(worker)
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
        assert max(process.memory_info().rss for process in family) < 300_000_000


DEATHS = ("exit", "signal", "segfault", "recursion", "memory")


@pytest.mark.parametrize("pool", POOLS)
def test_a_message_that_ends_workers_is_dead_after_as_many(pool):
    """However it ends them; where it only fails, it is a dead letter at once."""
    with Bench(lease_s=1.0) as bench:
        bench.send(1, seconds=0.01)
        for death in DEATHS:
            bench.send(1, task="end", arguments=[death])
        starts = 0
        worker = bench.worker(pool, 1)

        def all_dead():
            nonlocal worker, starts
            if worker.poll() is not None:
                assert worker.returncode != 0
                bench.workers.remove(worker)
                worker = bench.worker(pool, 1)
                starts += 1
            return len(bench.letters()) >= len(DEATHS)

        wait_until(all_dead, 30, "the last dead letter")

        assert starts <= 3 * len(DEATHS)
        assert bench.done() == 1


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_that_ends_by_its_own_error_counts_what_it_had(pool):
    with Bench(lease_s=60.0) as bench:
        bench.environment = {"CHAOS_CONSUMER": "RecursionError"}
        bench.send(1)
        for _ in range(3):
            worker = bench.worker(pool, 1)
            assert worker.wait(60) != 0
            bench.workers.remove(worker)

        (letter,) = bench.letters()
        assert letter["reason"] == "its worker was lost 3 times"
        assert not bench.client.zcard("owners")


def test_a_worker_that_is_told_to_end_counts_nothing():
    with Bench(lease_s=60.0) as bench:
        worker = bench.worker("threads", 1)
        bench.send(3, seconds=0.5)
        wait_until(bench.done, 30, "a first task")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0

        texts = bench.client.lrange(QUEUE, 0, -1)
        assert texts
        assert not any(b"lost_workers" in text for text in texts)

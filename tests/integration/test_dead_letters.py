"""Dead letters: what ends there, and what people do with them."""

import base64
import json
import os
import uuid

import pytest

from shared.broker import deadletters, keys
from shared.broker.connections import store
from shared.pools import PoolKind
from tests.chaos.bench import message
from tests.integration.test_producer import producer
from tests.support import wait_until


@pytest.fixture(autouse=True)
def _no_letters(stack):
    yield
    producer("dead", "drop", "--all", "--yes")


def letters():
    return json.loads(producer("dead", "list", "--json").stdout)


@pytest.fixture(scope="module", autouse=True)
def nothing_left(stack):
    """All that other tests sent has ended, and its letters are gone."""
    queues = [kind.value for kind in PoolKind]
    wait_until(lambda: not (store().exists(*queues) or store().keys(keys.TAKEN + "*")), 60, "rest")
    for letter in list(deadletters.letters()):
        deadletters.drop(letter["id"])


def push(text, queue="threads"):
    store().lpush(queue, text)


def variant(**changes):
    """A message of kombu's with some of its parts replaced."""
    whole = json.loads(message("sleep", [0]))
    whole["properties"]["delivery_info"]["routing_key"] = "threads"
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if part and key:
            whole[part][key] = value
        else:
            whole[part] = value
    return json.dumps(whole)


def _encoded(body):
    return base64.b64encode(body).decode()


def test_a_task_that_failed_can_be_looked_at_retried_and_dropped(stack):
    task_id = json.loads(producer("send", "fail", "boo", "--json").stdout)["ids"][0]
    wait_until(letters, 30, "the dead letter")

    (listed,) = letters()
    assert listed["id"] == task_id
    assert listed["reason"] == "ValueError: boo"

    shown = json.loads(producer("dead", "show", task_id, "--json").stdout)
    assert shown["task"] == "fail"
    assert "Traceback" in shown["traceback"]
    assert "boo" in shown["args"]

    assert producer("dead", "retry", task_id).returncode == 0
    wait_until(lambda: [letter["id"] for letter in letters()] == [task_id], 30, "the next failure")
    assert letters()[0]["died"] > listed["died"]

    states = json.loads(producer("status", "--json").stdout)
    assert sum(state["dead"] for state in states) == 1

    assert producer("dead", "drop", task_id).returncode == 0
    assert letters() == []
    assert sum(s["dead"] for s in json.loads(producer("status", "--json").stdout)) == 0


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["dead", "show", "nonsense"], 1, "no dead letter 'nonsense'"),
        (["dead", "retry", "nonsense"], 1, "no dead letter 'nonsense'"),
        (["dead", "retry"], 2, "--all"),
        (["dead", "drop", "--all"], 2, "--yes"),
        (["dead", "drop", "one", "--all", "--yes"], 2, "--all"),
        (["dead", "list", "--limit", "0"], 2, "--limit"),
    ],
)
def test_wrong_usage_is_one_line(stack, words, status, says):
    done = producer(*words)

    assert done.returncode == status
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


NESTED = "[" * 10_000 + "]" * 10_000


UNREADABLE = "it cannot be decoded"
REFUSED = {
    "bytes": (b"\x00\xff garbage", UNREADABLE),
    "list": ("[]", UNREADABLE),
    "nothing": ("{}", UNREADABLE),
    "nested": (NESTED, UNREADABLE),
    "properties": (variant(properties=[]), UNREADABLE),
    "body of a wrong type": (variant(body=7), UNREADABLE),
    "body": (variant(body="no base64!"), UNREADABLE),
    "body is not JSON": (variant(body=_encoded(b"not json")), UNREADABLE),
    # kombu's JSON makes other objects of these.
    "a time": ('{"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}', UNREADABLE),
    "properties that are an id": (
        variant(properties={"__type__": "uuid", "__value__": {"hex": "0" * 32}}, body=""),
        UNREADABLE,
    ),
    "properties that are a number": (
        variant(properties={"__type__": "decimal", "__value__": "1"}, body=""),
        UNREADABLE,
    ),
    "headers that are an id": (
        variant(headers={"__type__": "uuid", "__value__": {"hex": "0" * 32}}),
        UNREADABLE,
    ),
    "delivery info": (variant(properties__delivery_info=7), UNREADABLE),
    "type of the content": (variant(**{"content-type": 7}), "the worker refused it"),
    "encoding of the body": (variant(properties__body_encoding=7), UNREADABLE),
    "no properties": (variant(properties={}), UNREADABLE),
    "no id": (variant(headers__id=""), "the worker refused it: it has no id"),
    "retries": (variant(headers__retries="many"), "the worker refused it"),
    "chain": (
        variant(body=_encoded(b'[[0], {}, {"chain": ["x"]}]')),
        "what follows on it was not sent",
    ),
    "errbacks": (variant(body=_encoded(b'[["x"], {}, {"errbacks": [[1]]}]')), ""),
    "id": (variant(headers__id=[1]), "the worker refused it"),
    "name of the task": (variant(headers__task=["sleep"]), "no worker knows the task ['sleep']"),
    "time limits": (variant(headers__timelimit=7), "the worker refused it"),
    "time limits of words": (variant(headers__timelimit=["a", "b"]), "the worker refused it"),
    "one time limit": (variant(headers__timelimit=[1]), "the worker refused it"),
    "expires": (variant(headers__expires="never"), "the worker refused it"),
    "stamps": (variant(headers__stamped_headers=7), "the worker refused it"),
    "nested body": (variant(body=_encoded(NESTED.encode())), UNREADABLE),
    "no task": (variant(headers={}), "the worker refused it"),
    "unknown task": (
        variant(headers__task="no.such.task"),
        "no worker knows the task 'no.such.task'",
    ),
    "wrong parts": (variant(body=_encoded(b"[[0], 1, 2]")), ""),
    "pickle": (variant(**{"content-type": "application/x-python-serialize"}), "the worker refused"),
    "eta": (variant(headers__eta="the day before"), "the worker refused it"),
}


@pytest.mark.parametrize("queue", ["prefork", "threads", "gevent"])
def test_what_no_worker_can_run_is_a_dead_letter_and_the_worker_goes_on(stack, queue):
    reasons = []
    for name, (text, reason) in REFUSED.items():
        push(text, queue)
        wait_until(lambda: list(deadletters.letters()), 30, f"the dead letter of {name}")
        (letter,) = deadletters.letters()
        assert letter["queue"] == queue
        assert letter["reason"].startswith(reason), name
        reasons.append(letter["reason"])
        deadletters.drop(letter["id"])

    assert all(reasons)
    done = producer("send", "sleep", "0", "--pool", queue, "--wait", "--timeout", "30")
    assert done.returncode == 0


def test_a_message_that_dies_on_two_queues_is_counted_once(stack):
    text = variant(headers__task="no.such.task")
    for queue in ("threads", "gevent"):
        push(text, queue)
        wait_until(lambda q=queue: [x for x in letters() if x["queue"] == q], 30, "the letter")

    assert store().hgetall(keys.DEAD_QUEUES)[b"threads"] == b"0"
    assert store().hgetall(keys.DEAD_QUEUES)[b"gevent"] == b"1"
    assert len(letters()) == 1


def test_a_message_that_is_too_large_never_reaches_a_worker(stack):
    push(variant(body="x" * 30_000_000))
    wait_until(letters, 30, "the dead letter")

    (letter,) = letters()
    assert letter["reason"].startswith("it has 300")


def test_a_message_that_is_sent_again_runs_again_and_harms_nobody(stack):
    text = variant(headers__id=(task_id := str(uuid.uuid4())))
    for _ in range(3):
        push(text)

    wait_until(
        lambda: (
            json.loads(producer("result", task_id, "--json").stdout)["state"] == "SUCCESS"
            and not store().llen("threads")
        ),
        30,
        "the result",
    )
    assert os.environ["REDIS_URL"]
    assert letters() == []

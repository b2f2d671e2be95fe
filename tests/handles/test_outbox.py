"""Outcomes of calls on their way from a worker: together, once, and none before its message."""

import threading
import uuid

import pytest
import redis

from shared.broker import messages, ownership
from shared.broker.connections import store
from shared.calls import outbox
from tests.handles.redis_only import redis_only
from tests.support import patient, wait_until

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only"]


@pytest.fixture
def owner(monkeypatch):
    monkeypatch.setattr(ownership.owner, "_made", None)
    yield ownership.owner()
    ownership.owner().retire()


@pytest.fixture
def stream():
    name = f"replies:{uuid.uuid4().hex}"
    store().xadd(name, {"id": "hello"})
    return name


def take(owner, number):
    """As if a message had been taken under this number."""
    store().hset(owner.key, str(number), "threads\n{}")
    return messages.tag(owner.name, number)


def outcome(stream, delivery_tag, text):
    owner = ownership.owner()
    owner.leave_to_answer(delivery_tag)
    return outbox.Answer(stream, delivery_tag, [{"id": text, "outcome": text}])


def answered(stream):
    return [fields[b"id"].decode() for _, fields in store().xrange(stream)][1:]


def test_an_outcome_acknowledges_its_message(owner, stream):
    delivery_tag = take(owner, 1)

    outbox.Outbox().put(outcome(stream, delivery_tag, "one"))

    assert answered(stream) == ["one"]
    assert not store().exists(owner.key)


def test_what_has_no_message_any_more_has_no_outcome(owner, stream):
    outbox.Outbox().put(outcome(stream, messages.tag(owner.name, 1), "again"))

    assert answered(stream) == []


def test_celerys_acknowledgement_does_not_overtake_the_outcome(owner, stream):
    delivery_tag = take(owner, 1)
    waiting = outcome(stream, delivery_tag, "one")

    owner.settle(delivery_tag)
    owner.flush()

    assert store().hkeys(owner.key) == [b"1"]
    outbox.Outbox().put(waiting)
    assert answered(stream) == ["one"]


def test_outcomes_that_come_while_one_is_sent_go_together(owner, stream, monkeypatch):
    box, sending, go_on, sent = outbox.Outbox(), threading.Event(), threading.Event(), []
    send = outbox.send

    def slowly(client, answers):
        sent.append(len(answers))
        sending.set()
        assert go_on.wait(patient(10))
        send(client, answers)

    monkeypatch.setattr(outbox, "send", slowly)
    numbers = range(1, 21)
    answers = [outcome(stream, take(owner, number), str(number)) for number in numbers]
    first = threading.Thread(target=box.put, args=(answers[0],))
    first.start()
    assert sending.wait(patient(10))

    for answer in answers[1:]:
        box.put(answer)
    go_on.set()
    first.join()

    assert sent == [1, 19]
    assert answered(stream) == list(map(str, numbers))


def test_large_outcomes_do_not_go_together(owner, stream, monkeypatch):
    box, sent, send = outbox.Outbox(), [], outbox.send
    large = [outcome(stream, take(owner, number), "x" * 300_000) for number in range(1, 4)]
    monkeypatch.setattr(outbox, "send", lambda _, answers: sent.append(len(answers)))
    box._waiting.extend(large[:2])

    box.put(large[2])

    assert sent == [2, 1]
    send(store(), large)


def test_a_stream_that_is_none_takes_no_other_outcome_with_it(owner, stream):
    store().set("no stream", "but a text")
    answers = [
        outcome("no stream", take(owner, 1), "one"),
        outcome(stream, take(owner, 2), "two"),
    ]

    outbox.send(store(), answers)

    assert answered(stream) == ["two"]


@pytest.mark.parametrize("ends_with", [redis.ConnectionError("away"), KeyboardInterrupt()])
def test_outcomes_outlive_whoever_was_sending_them(owner, stream, monkeypatch, ends_with):
    box, send = outbox.Outbox(), outbox.send
    failures = [ends_with]

    def fail_once(client, answers):
        if failures:
            raise failures.pop()
        send(client, answers)

    monkeypatch.setattr(outbox, "send", fail_once)
    waiting = outcome(stream, take(owner, 1), "one")

    if isinstance(ends_with, Exception):
        box.put(waiting)
    else:
        with pytest.raises(KeyboardInterrupt):
            box.put(waiting)

    wait_until(lambda: answered(stream) == ["one"])
    assert not store().exists(owner.key)

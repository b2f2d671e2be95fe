"""Messages that are taken one by one, in a process that is no worker: kombu's `basic_get`,
`SimpleQueue` and `drain_events`."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid

import pytest
from kombu import Queue

from shared.app import Connection
from shared.broker import deadletters, keys, ownership
from shared.broker.connections import store
from tests.handles.redis_only import redis_only
from tests.support import patient, wait_until

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only"]


@pytest.fixture
def name(redis_only):
    yield f"single-{uuid.uuid4().hex}"
    owner = ownership.existing()
    if owner is not None:
        owner.retire()
        ownership.owner.forget()


@pytest.fixture
def connection(redis_only):
    with Connection(redis_only.url) as connection:
        yield connection


def publish(connection, name, *bodies, **options):
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, routing_key=name, **options)


def get(connection, name, **options):
    return Queue(name)(connection.default_channel).get(**options)


def bodies(connection, name, **options):
    found = []
    while (message := get(connection, name, **options)) is not None:
        found.append(message.payload)
        message.ack()
    return found


def taken():
    return sum(store().hlen(key) for key in store().scan_iter(f"{keys.TAKEN}*"))


def test_a_message_that_is_got_is_recorded_until_it_is_acknowledged(connection, name):
    publish(connection, name, 1, 2)

    message = get(connection, name)

    assert (message.payload, store().llen(name), taken()) == (1, 1, 1)
    message.ack()
    wait_until(lambda: taken() == 0)
    assert bodies(connection, name) == [2]


def close(connection, message):
    connection.close()


WAYS_BACK = {
    "requeue": lambda connection, message: message.requeue(),
    "reject": lambda connection, message: message.reject(requeue=True),
    "recover": lambda connection, message: connection.default_channel.basic_recover(requeue=True),
    "close": close,
    "channel closed": lambda connection, message: message.channel.close(),
    "restored": lambda connection, message: message.channel._restore(message),
    "restored by tag": lambda connection, message: message.channel.qos.restore_by_tag(
        message.delivery_tag
    ),
}


@pytest.mark.parametrize("way", WAYS_BACK)
@pytest.mark.parametrize("consumed", [False, True], ids=["got", "consumed"])
def test_a_message_goes_back_at_once_marked_as_redelivered(redis_only, name, way, consumed):
    with Connection(redis_only.url) as connection:
        publish(connection, name, "x")
        if consumed:
            received = []
            consumer = connection.Consumer(Queue(name), on_message=received.append)
            with consumer:
                connection.drain_events(timeout=patient(5))
                (message,) = received
                WAYS_BACK[way](connection, message)
        else:
            message = get(connection, name)
            WAYS_BACK[way](connection, message)

        wait_until(lambda: store().llen(name) == 1, within_s=2)
        assert taken() == 0
        with Connection(redis_only.url) as another:
            again = get(another, name)
            assert again.payload == "x"
            assert again.delivery_info["redelivered"]
            assert again.headers["redelivered"]
            again.ack()


def test_what_is_rejected_without_requeue_is_a_dead_letter(connection, name):
    publish(connection, name, "x")

    get(connection, name).reject()

    assert [letter["queue"] for letter in deadletters.letters()] == [name]
    assert (store().llen(name), taken()) == (0, 0)


def test_several_that_are_requeued_keep_their_order(connection, name):
    publish(connection, name, *"abc")
    messages = [get(connection, name) for _ in "abc"]

    for message in messages:
        message.requeue()

    assert bodies(connection, name) == [*"abc"]


def test_several_that_are_given_back_unread_keep_their_order(redis_only, name):
    with Connection(redis_only.url) as connection:
        publish(connection, name, *"abcd")
        assert [get(connection, name).payload for _ in "abc"] == [*"abc"]

    with Connection(redis_only.url) as connection:
        assert bodies(connection, name) == [*"abcd"]


def test_what_is_requeued_holds_up_no_other(connection, name):
    publish(connection, name, "again", "other")

    get(connection, name).requeue()

    assert bodies(connection, name) == ["other", "again"]


def test_a_message_of_each_priority_is_got_and_goes_back_to_its_own(connection, name):
    for priority in (9, 0, 3):
        publish(connection, name, priority, priority=priority)
    lowest = [get(connection, name) for _ in range(3)][-1]
    publish(connection, name, 0, priority=0)

    lowest.requeue()

    assert bodies(connection, name)[-1] == 9


def test_nothing_is_recorded_of_what_is_got_without_acknowledgement(connection, name):
    publish(connection, name, "x")

    assert get(connection, name, no_ack=True).payload == "x"

    assert (taken(), ownership.existing()) == (0, None)


def test_what_is_no_message_is_buried_and_the_next_one_is_got(connection, name):
    store().lpush(name, "no message")
    publish(connection, name, "x")

    message = get(connection, name)

    assert message.payload == "x"
    message.ack()
    wait_until(lambda: taken() == 0)
    assert any(letter["queue"] == name for letter in deadletters.letters())


def test_a_consumer_and_single_gets_take_apart_on_one_channel(connection, name):
    publish(connection, name, 1, 2, 3)
    received = []
    with connection.Consumer(Queue(name), on_message=received.append) as consumer:
        connection.drain_events(timeout=patient(5))
        got = Queue(name)(consumer.channel).get()
        connection.drain_events(timeout=patient(5))

        found = [*received, got]
        assert sorted(message.payload for message in found) == [1, 2, 3]
        assert len({message.delivery_tag for message in found}) == taken() == 3
        for message in found:
            message.ack()


def test_one_drain_delivers_one_message_and_the_others_stay_in_the_queue(connection, name):
    publish(connection, name, 1, 2, 3)
    received = []
    with connection.Consumer(Queue(name), on_message=received.append):
        for count in (1, 2, 3):
            connection.drain_events(timeout=patient(5))
            assert (len(received), store().llen(name)) == (count, 3 - count)
        for message in received:
            message.ack()


def test_without_acknowledgement_emulation_nothing_is_recorded(redis_only, name):
    options = {"ack_emulation": False}
    with Connection(redis_only.url, transport_options=options) as connection:
        publish(connection, name, 1, 2)
        received = []
        with connection.Consumer(Queue(name), on_message=received.append):
            connection.drain_events(timeout=patient(5))
        got = get(connection, name)

        assert [message.payload for message in (*received, got)] == [1, 2]
        for message in (*received, got):
            message.ack()
        assert (taken(), ownership.existing()) == (0, None)


PROGRAM = """
import os, signal, sys
from shared.app import Connection
how, url, name = sys.argv[1:]
connection = Connection(url)
queue = connection.SimpleQueue(name)
first, second = queue.get_nowait(), queue.get(timeout=5)
first.ack()
if how == "killed":
    print("killed", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_what_a_program_did_not_acknowledge_comes_back_when_it_is_gone(
    connection, name, redis_only, how
):
    publish(connection, name, "done", "open")
    environment = {**os.environ, "REDIS_URL": redis_only.url, "WORKER_LEASE_S": "1"}
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how, redis_only.url, name],
        env=environment,
        stdout=subprocess.PIPE,
    )
    if how == "killed":
        program.stdout.readline()
        wait_until(lambda: taken() == 1)
        program.send_signal(signal.SIGKILL)
    assert program.wait(patient(20)) == (-signal.SIGKILL if how == "killed" else 0)
    if how == "killed":
        # Any other owner returns it.
        ownership.owner()

    wait_until(lambda: store().llen(name) == 1)
    assert bodies(connection, name) == ["open"]


def test_a_queue_that_is_empty_is_waited_for(connection, name):
    with connection.Consumer(Queue(name)), pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.2)
    with contextlib.closing(connection.SimpleQueue(name)) as queue, pytest.raises(queue.Empty):
        queue.get_nowait()

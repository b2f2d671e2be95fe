"""What the transport does with its sockets, in a process without Celery."""

import contextlib
import socket
import threading
import time
import uuid

import pytest
import redis
from kombu import Connection, Consumer, Queue
from kombu.transport import redis as kombu_redis
from kombu.utils import eventio

from shared.broker import keys, messages, ownership, recovery, transport
from shared.broker.connections import store
from tests.support import patient, wait_until


@pytest.fixture
def consumer(stack, monkeypatch):
    """A consumer that may hold one message, and that waits with select(), as under gevent."""
    monkeypatch.setattr(kombu_redis, "poll", eventio._select)
    monkeypatch.setattr(ownership.owner, "_made", None)
    queue = Queue(f"transport-{uuid.uuid4().hex}")
    connection = Connection(stack.redis_url, transport="shared.broker.transport:Transport")
    received = []
    with connection, connection.Consumer(queue, on_message=received.append) as consumer:
        consumer.qos(prefetch_count=1)
        consumer.received = received
        yield consumer
        queue(connection.default_channel).delete()
    ownership.owner().retire()


def receive(consumer):
    before = len(consumer.received)
    while len(consumer.received) == before:
        consumer.channel.connection.client.drain_events(timeout=5)
    return consumer.received[-1]


def test_a_full_consumer_whose_connection_is_cut_goes_on(consumer):
    connection = consumer.channel.connection.client
    producer = connection.Producer()
    queue = consumer.queues[0]
    producer.publish("first", routing_key=queue.name)
    first = receive(consumer)
    fileno = consumer.channel.client.connection._sock.fileno()
    store().client_kill_filter(_type="normal", skipme=True)
    with contextlib.suppress(socket.timeout):
        connection.drain_events(timeout=1)

    # The number of the closed socket is another file's by now, and there is something to read.
    with contextlib.ExitStack() as others:
        numbers = set()
        while fileno not in numbers:
            for end in socket.socketpair():
                numbers.add(others.enter_context(end).fileno())
                end.send(b"!")
        with contextlib.suppress(socket.timeout):
            connection.drain_events(timeout=0.1)

    first.ack()
    producer.publish("second", routing_key=queue.name)
    assert receive(consumer).payload == "second"


def publish(consumer, numbers):
    producer = consumer.channel.connection.client.Producer()
    for number in numbers:
        producer.publish(number, routing_key=consumer.queues[0].name)


def queued(consumer):
    return store().llen(consumer.queues[0].name)


def lose_the_lease():
    store().zrem(keys.OWNERS, ownership.owner().name)
    store().srem(keys.OWNER_NAMES, ownership.owner().name)


def run_quickly(consumer, count):
    for _ in range(count):
        receive(consumer).ack()
    return [message.payload for message in consumer.received[-count:]]


def drain_until(consumer, true):
    deadline = time.monotonic() + patient(10)
    while not true():
        assert time.monotonic() < deadline
        with contextlib.suppress(socket.timeout):
            consumer.channel.connection.client.drain_events(timeout=0.1)


def test_short_tasks_are_taken_together_and_run_in_their_order(consumer):
    publish(consumer, range(100))
    before = store().info("commandstats")["cmdstat_eval"]["calls"]

    assert run_quickly(consumer, 100) == list(range(100))
    assert store().info("commandstats")["cmdstat_eval"]["calls"] - before < 50


def test_no_more_is_held_than_may_run_while_tasks_are_long(consumer):
    publish(consumer, range(6))

    for left in (5, 4, 3):
        message = receive(consumer)
        assert queued(consumer) == left
        time.sleep(0.15)
        message.ack()


def test_what_is_taken_ahead_goes_back_when_it_has_to_wait(consumer):
    publish(consumer, range(60))
    run_quickly(consumer, 20)
    long = receive(consumer)
    assert queued(consumer) < 39

    drain_until(consumer, lambda: queued(consumer) == 39)

    long.ack()
    assert run_quickly(consumer, 39) == list(range(21, 60))


def test_a_consumer_that_waits_long_for_news_gives_back_in_time(consumer):
    publish(consumer, range(60))
    run_quickly(consumer, 20)
    receive(consumer)
    seen = []
    threading.Timer(1, lambda: seen.append(queued(consumer))).start()

    while not seen:
        with contextlib.suppress(socket.timeout):
            consumer.channel.connection.client.drain_events(timeout=4)

    assert seen == [39]


def test_what_is_taken_ahead_goes_back_when_nobody_consumes_any_more(consumer):
    publish(consumer, range(60))
    run_quickly(consumer, 20)
    assert queued(consumer) < 40

    consumer.cancel()

    wait_until(lambda: queued(consumer) == 40)


def test_what_is_taken_ahead_under_a_lost_lease_is_not_run_here(consumer):
    publish(consumer, range(60))
    run_quickly(consumer, 20)
    owner = ownership.owner()
    assert queued(consumer) < 40
    lose_the_lease()
    for number in sorted(map(int, store().hkeys(owner.key)), reverse=True):
        recovery.return_message(store(), f"{owner.key}#{number}", "lost")
    owner.lost(owner.name)

    assert sorted(run_quickly(consumer, 40)) == list(range(20, 60))


def test_acknowledgements_reach_redis_though_nothing_more_is_taken(consumer):
    publish(consumer, [1])

    receive(consumer).ack()

    drain_until(consumer, lambda: not store().hlen(ownership.owner().key))


def test_little_is_taken_ahead_of_large_tasks(consumer):
    publish(consumer, ["x" * 300_000] * 40)

    for run in range(30):
        receive(consumer).ack()
        assert 40 - queued(consumer) <= run + 1 + 8


def test_what_cost_a_worker_its_life_is_taken_with_few_others(consumer):
    publish(consumer, range(30))
    history = {messages.HISTORY: [{"worker": "another", "at": 0}]}
    producer = consumer.channel.connection.client.Producer()
    producer.publish("suspect", routing_key=consumer.queues[0].name, headers=history)
    publish(consumer, range(30))

    run_quickly(consumer, 30)

    assert receive(consumer).payload == "suspect"
    wait_until(lambda: store().hlen(ownership.owner().key) == 1)


def test_what_is_taken_ahead_goes_back_when_a_dead_connection_is_closed(consumer):
    publish(consumer, range(60))
    run_quickly(consumer, 20)
    assert queued(consumer) < 40
    connection = consumer.channel.client.connection
    consumer.channel._in_poll = connection  # as if it waited for an answer
    connection._sock.shutdown(socket.SHUT_RDWR)

    with contextlib.suppress(OSError, redis.ConnectionError):
        consumer.channel.close()

    wait_until(lambda: queued(consumer) == 40)


def test_what_ended_under_a_lost_lease_is_not_run_again(consumer):
    publish(consumer, range(3))
    message, key = receive(consumer), ownership.owner().key
    lose_the_lease()
    message.ack()

    assert receive(consumer).payload == 1
    wait_until(lambda: not store().exists(key))


def test_a_task_that_ends_after_its_full_consumer_was_closed_is_acknowledged(consumer):
    connection, messages = consumer.channel.connection.client, []
    consumer.cancel()
    channel = connection.channel()
    another = connection.Consumer(consumer.queues, channel, on_message=messages.append)
    another.qos(prefetch_count=1)
    another.consume()
    publish(consumer, range(2))
    drain_until(consumer, lambda: channel.qos.is_full)
    channel.close()

    messages[0].ack()

    wait_until(lambda: not store().exists(ownership.owner().key))


def test_what_is_acknowledged_with_a_take_that_cannot_be_sent_is_not_forgotten(
    consumer, monkeypatch
):
    monkeypatch.setattr(ownership, "_GATHER_S", 1.0)
    publish(consumer, range(2))
    message = receive(consumer)
    message.ack()
    connection = consumer.channel.client.connection
    connection._sock.shutdown(socket.SHUT_RDWR)

    with contextlib.suppress(redis.ConnectionError):
        consumer.channel.connection.client.drain_events(timeout=0.1)

    receive(consumer).ack()
    wait_until(lambda: not store().exists(ownership.owner().key))


def test_a_lease_that_is_renewed_wakes_no_waiting_worker(consumer):
    ownership._renew(store(), "another:1", 10.0, become=True)
    drain_until(consumer, lambda: consumer.channel._waiting)
    before = store().info("commandstats")["cmdstat_llen"]["calls"]

    for _ in range(5):
        ownership._renew(store(), "another:1", 10.0)
        with contextlib.suppress(socket.timeout):
            consumer.channel.connection.client.drain_events(timeout=0.05)

    assert consumer.channel._waiting
    assert store().info("commandstats")["cmdstat_llen"]["calls"] == before


def test_a_queue_that_is_added_while_the_consumer_listens_is_looked_into_at_once(consumer):
    added = Queue(f"transport-{uuid.uuid4().hex}")
    connection = consumer.channel.connection.client
    connection.Producer().publish("there", routing_key=added.name)
    another = connection.Consumer(added, consumer.channel, on_message=consumer.received.append)
    threading.Timer(0.3, another.consume).start()
    began = time.monotonic()

    with contextlib.suppress(socket.timeout):
        connection.drain_events(timeout=5)

    assert [message.payload for message in consumer.received] == ["there"]
    assert time.monotonic() - began < patient(3)
    consumer.received[0].ack()
    another.cancel()


def test_a_take_is_recorded_with_the_owner_that_takes_whenever_a_lease_is_lost(
    consumer, monkeypatch
):
    def key_and_loss(owner):
        key = keys.TAKEN + owner.name
        owner.lost(owner.name)
        return key

    publish(consumer, [1])
    receive(consumer).ack()
    sent, pack = [], transport.pack_command
    monkeypatch.setattr(transport, "pack_command", lambda c: sent.append(c) or pack(c))
    monkeypatch.setattr(ownership.Owner, "key", property(key_and_loss))

    consumer.channel._brpop_start()

    _, _, how_many, _, key, *rest = sent[-1]
    assert key == keys.TAKEN + rest[how_many - 2]


def test_redis_may_forget_the_scripts(consumer):
    publish(consumer, [1])
    receive(consumer).ack()
    store().script_flush()
    publish(consumer, [2])

    assert receive(consumer).payload == 2


def test_a_key_that_is_no_list_does_not_stop_the_lists_beside_it(consumer, caplog):
    no_list = f"transport-{uuid.uuid4().hex}"
    store().set(no_list, "text", ex=60)
    consumer.add_queue(Queue(no_list))
    consumer.consume()
    for number in (1, 2):
        publish(consumer, [number])
        message = receive(consumer)
        message.ack()
        assert message.payload == number

    assert [text for text in caplog.messages if no_list in text] == [
        f"nothing is taken from {no_list!r}: this key holds no list; delete it, or rename the queue"
    ]


def test_a_queue_is_consumed_again_once_its_key_is_a_list(consumer):
    name = consumer.queues[0].name
    store().set(name, "text", ex=60)
    with pytest.raises(socket.timeout):
        consumer.channel.connection.client.drain_events(timeout=0.5)
    store().delete(name)
    publish(consumer, [1])

    assert receive(consumer).payload == 1


def test_a_get_from_a_key_that_is_no_list_says_so(consumer):
    name = consumer.queues[0].name
    store().set(name, "text", ex=60)

    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE.*is no list"):
        consumer.channel.basic_get(name)
    store().delete(name)


@pytest.mark.parametrize("name", ["buried", "owners", "owners:names", "taken:a", "dead"])
def test_a_message_for_a_key_of_another_kind_is_refused(consumer, name):
    with pytest.raises(ValueError, match="choose another queue"):
        consumer.channel.connection.client.Producer().publish(1, routing_key=name)

    assert store().type(name) != b"list"


def test_a_take_whose_answer_was_lost_is_found_again(consumer, monkeypatch):
    def lose(**_):
        raise redis.ConnectionError("lost")

    publish(consumer, [1])
    receive(consumer).ack()
    publish(consumer, [2])
    consumer.channel._brpop_start()
    wait_until(lambda: queued(consumer) == 0)
    with monkeypatch.context() as patch:
        patch.setattr(consumer.channel.client.connection, "read_response", lose)
        with pytest.raises(redis.ConnectionError):
            consumer.channel.handlers["BRPOP"]()

    assert receive(consumer).payload == 2


def test_what_a_closed_channel_took_and_never_heard_of_is_found_by_the_next_one(consumer):
    connection, queue = consumer.channel.connection.client, consumer.queues[0]
    publish(consumer, [1])
    with another(connection, queue) as lost:
        lost.channel.connection.cycle._register_BRPOP(lost.channel)
        wait_until(lambda: queued(consumer) == 0)
        lost.channel.client.connection.disconnect()

    with another(connection, queue) as next_one:
        assert receive(next_one).payload == 1


@contextlib.contextmanager
def another(connection, queue, channel=None, **options):
    """One more consumer, on a connection of its own or on that channel."""
    received = []
    with contextlib.nullcontext(channel) if channel else connection.clone() as where:
        consumer = Consumer(where, [queue], on_message=received.append, **options)
        consumer.received = received
        with consumer:
            consumer.qos(prefetch_count=2)
            yield consumer


def test_two_that_take_at_the_same_time_record_what_they_take_apart(consumer):
    connection = consumer.channel.connection.client
    publish(consumer, [1, 2])

    with another(connection, consumer.queues[0]) as second:
        both = (consumer, second)
        for one in both:
            one.channel.connection.cycle._register_BRPOP(one.channel)
        for one in both:
            one.channel.handlers["BRPOP"]()

        assert [one.received[0].payload for one in both] == [1, 2]
        assert len({one.received[0].delivery_tag for one in both}) == 2
        assert store().hlen(ownership.owner().key) == 2
        for one in both:
            one.received[0].ack()
        wait_until(lambda: store().hlen(ownership.owner().key) == 0)


def test_nothing_is_recorded_of_what_nobody_acknowledges(consumer):
    connection = consumer.channel.connection.client
    publish(consumer, [1])

    with another(connection, consumer.queues[0], no_ack=True) as careless:
        assert receive(careless).payload == 1

    assert ownership.existing() is None


def test_what_nobody_acknowledges_is_forgotten_beside_what_somebody_does(consumer):
    publish(consumer, [1])
    queue = Queue(f"transport-{uuid.uuid4().hex}")

    with another(None, queue, consumer.channel, no_ack=True) as careless:
        consumer.channel.connection.client.Producer().publish(2, routing_key=queue.name)
        drain_until(consumer, lambda: careless.received and consumer.received)

        wait_until(lambda: store().hlen(ownership.owner().key) == 1)
        queue(consumer.channel).delete()

"""What the transport does with its sockets, in a process without Celery."""

import contextlib
import socket
import uuid

import pytest
from kombu import Connection, Queue
from kombu.transport import redis as kombu_redis
from kombu.utils import eventio

from shared import taken
from shared.store import store


@pytest.fixture
def consumer(stack, monkeypatch):
    """A consumer that may hold one message, and that waits with select(), as under gevent."""
    monkeypatch.setattr(kombu_redis, "poll", eventio._select)
    monkeypatch.setattr(taken, "_owner", None)
    queue = Queue(f"transport-{uuid.uuid4().hex}")
    connection = Connection(stack.redis_url, transport="shared.transport:Transport")
    received = []
    with connection, connection.Consumer(queue, on_message=received.append) as consumer:
        consumer.qos(prefetch_count=1)
        consumer.received = received
        yield consumer
        queue(connection.default_channel).delete()
    taken.owner().retire()


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

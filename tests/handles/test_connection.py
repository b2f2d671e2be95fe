"""Pipes: messages in order, ends that close, waiting for many."""

import array
import multiprocessing.connection
import os
import socket
import threading
import time

import pytest

from shared.calls import codec
from shared.errors import MessageTooLarge, NotPortable
from shared.multiprocessing.connection import Pipe, wait
from shared.multiprocessing.queues import Queue
from tests.handles.processes import fork, join, spawn, start
from tests.handles.redis_only import redis_only, short_leases
from tests.support import leased, patient

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only", "short_leases"]


def echo(connection):
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return


def test_an_end_goes_to_a_spawned_process_and_eof_ends_it():
    ours, theirs = Pipe()
    process = start(spawn, echo, theirs)
    theirs.close()
    for number in range(20):
        ours.send((number, {"x"}))
        assert ours.recv() == (number, {"x"})

    ours.close()
    join(process)

    assert process.exitcode == 0


def send_and_leave(connection, count):
    for number in range(count):
        connection.send(number)
    # Nothing is closed: the end of the process does it.


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
def test_what_was_sent_is_read_before_the_end(context):
    reader, writer = Pipe(duplex=False)
    process = start(context, send_and_leave, writer, 50)
    writer.close()
    join(process)
    got = []

    began = time.monotonic()
    with pytest.raises(EOFError):
        got.extend(iter(reader.recv, "never sent"))

    assert got == list(range(50))
    assert time.monotonic() - began < patient(3)


def test_an_end_is_open_while_its_forked_copy_is():
    ours, theirs = Pipe()
    process = start(fork, answer_once, theirs, ours)
    theirs.close()

    ours.send("x")

    assert ours.recv() == "x"
    join(process)


def answer_once(connection, other):
    other.close()
    time.sleep(0.5)  # the parent closes its copy meanwhile
    connection.send(connection.recv())


def wait_for_a_kill(connection):
    connection.send(os.getpid())
    time.sleep(60)


def test_the_end_of_a_killed_process_is_closed_within_the_lease(short_leases):
    reader, writer = Pipe(duplex=False)
    process = start(fork, wait_for_a_kill, writer)
    writer.close()
    reader.recv()
    time.sleep(leased(2))  # longer than the lease: it is renewed
    nothing = reader.poll()
    process.kill()
    process.join()

    began = time.monotonic()
    with pytest.raises(EOFError):
        reader.recv()

    assert not nothing
    assert time.monotonic() - began < leased(4)


def test_one_way_is_one_way():
    reader, writer = Pipe(duplex=False)

    for wrong in (lambda: reader.send(1), writer.recv, writer.poll):
        with pytest.raises(OSError):
            wrong()

    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)


def test_a_closed_end_refuses_and_the_other_learns():
    ours, theirs = Pipe()
    with theirs:
        theirs.send("last")
    theirs.close()  # twice is once

    with pytest.raises(OSError, match="closed"):
        theirs.send(1)
    assert ours.poll()
    assert ours.recv() == "last"
    assert ours.poll()  # the end is something to read
    with pytest.raises(EOFError):
        ours.recv()
    with pytest.raises(BrokenPipeError):
        ours.send(1)
    assert theirs.closed
    assert not ours.closed


def test_a_waiting_receiver_hears_of_the_close():
    ours, theirs = Pipe()
    threading.Timer(0.3, theirs.close).start()

    began = time.monotonic()
    with pytest.raises(EOFError):
        ours.recv()

    assert time.monotonic() - began < patient(0.9)  # told, not found out at the next look


def test_bytes():
    ours, theirs = Pipe()
    text = b"abcdefghij"

    ours.send_bytes(text, 3, 4)
    assert theirs.recv_bytes() == b"defg"
    ours.send_bytes(array.array("i", [1, 2, 3]))
    buffer = array.array("i", [0] * 5)
    assert theirs.recv_bytes_into(buffer, 4) == 12
    assert list(buffer) == [0, 1, 2, 3, 0]
    ours.send_bytes(text)
    with pytest.raises(multiprocessing.BufferTooShort) as short:
        theirs.recv_bytes_into(bytearray(3))
    assert short.value.args == (text,)
    ours.send_bytes(text)
    with pytest.raises(OSError, match="bad message length"):
        theirs.recv_bytes(3)
    assert not theirs.readable
    for arguments in ((text, 11), (text, -1), (text, 0, 11), (text, 4, -1)):
        with pytest.raises(ValueError):
            ours.send_bytes(*arguments)
    with pytest.raises(MessageTooLarge):
        ours.send_bytes(bytes(16 * 1024 * 1024 + 1))
    with pytest.raises(OSError):
        ours.fileno()


def test_what_cannot_travel_is_refused_at_the_send():
    ours, theirs = Pipe()

    with pytest.raises(NotPortable):
        ours.send(lambda: None)

    assert not theirs.poll()


@pytest.mark.parametrize("timeout", [0, -1, 0.2, 1.2])
def test_poll_waits_as_long_as_asked_for(timeout):
    ours, _theirs = Pipe()

    began = time.monotonic()
    ready = ours.poll(timeout)
    took = time.monotonic() - began

    assert not ready
    assert max(0, timeout) <= took < max(0, timeout) + 1


def test_poll_takes_nothing_away():
    ours, theirs = Pipe()
    threading.Timer(0.2, theirs.send, ("x",)).start()

    assert ours.poll(None)
    assert ours.poll()
    assert ours.recv() == "x"


def test_wait_names_those_that_are_ready():
    pipes = [Pipe() for _ in range(3)]
    readers = [ours for ours, _ in pipes]
    threading.Timer(0.2, pipes[1][1].send, (1,)).start()

    first = wait(readers, 5)
    pipes[2][1].close()
    both = wait(readers, 5)
    none = wait([readers[0]], 0.1)

    assert first == [readers[1]]
    assert both == [readers[1], readers[2]]
    assert none == []


def test_wait_takes_local_things_too():
    ours, theirs = Pipe()
    left, right = socket.socketpair()
    local, local_other = multiprocessing.connection.Pipe()
    process = start(fork, time.sleep, 0.5)

    nothing = wait([ours, left, local], 0.2)
    ended = wait([ours, left, local, process.sentinel], 10)
    local_other.send(1)
    theirs.send(1)
    right.send(b"x")
    ready = wait([ours, left, local], 10)
    join(process)

    assert nothing == []
    assert ended == [process.sentinel]
    assert ready == [ours, left, local]


def test_an_end_travels_through_a_queue_and_stays_open_on_the_way(short_leases):
    q = Queue()
    ours, theirs = Pipe()
    q.put(theirs)
    theirs.close()
    del theirs
    ours.send("before it arrived")

    time.sleep(leased(1.5))  # longer than a hold's lease, shorter than a handle's
    arrived = q.get()
    arrived.send("hello")

    assert arrived.recv() == "before it arrived"
    assert ours.recv() == "hello"


def test_an_end_that_arrives_twice_is_closed_with_the_last():
    ours, theirs = Pipe()
    data = codec.dumps(theirs)
    first, second = codec.loads(data), codec.loads(data)
    theirs.close()

    first.close()
    still_open = not ours.poll()
    second.close()

    assert still_open
    with pytest.raises(EOFError):
        ours.recv()


def test_nothing_is_lost_or_out_of_order():
    reader, writer = Pipe(duplex=False)
    processes = [start(fork, send_numbered, writer, number) for number in range(3)]
    writer.close()
    got = []

    with pytest.raises(EOFError):
        got.extend(iter(reader.recv, "never sent"))
    join(*processes)

    assert sorted(got) == [(number, i) for number in range(3) for i in range(100)]
    for number in range(3):
        mine = [i for n, i in got if n == number]
        assert mine == sorted(mine)


def send_numbered(writer, number):
    for i in range(100):
        writer.send((number, i))
    writer.close()

"""What our own connection makes of servers that are none, or say nothing."""

import contextlib
import multiprocessing
import socket
import threading
import time

import pytest

from shared import errors
from shared.broker.connections import connect, foreseen
from shared.settings import Settings
from tests.support import patient


@contextlib.contextmanager
def server(answer):
    """A server that answers whoever connects so; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_is_no_redis_is_told_as_such():
    def answer(connection):
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with server(answer) as address:
        settings = Settings(redis_url=f"redis://{address}/0")
        with pytest.raises(errors.NotRedis) as raised, foreseen(settings):
            connect(settings).ping()

    assert f"what answers at {address} is not Redis" in str(raised.value)
    assert isinstance(raised.value, errors.BrokerUnavailable)


def test_a_server_that_never_answers_is_given_up_in_about_the_time_it_may_take():
    held = []

    with server(held.append) as address:
        settings = Settings(redis_url=f"redis://{address}/0", redis_timeout_s=0.5)
        began = time.monotonic()
        with pytest.raises(errors.BrokerUnavailable), foreseen(settings):
            connect(settings).ping()

    assert time.monotonic() - began < 4  # not the sixteen attempts that redis-py nests


def test_a_connection_that_is_cut_is_made_anew_several_times(monkeypatch):
    monkeypatch.setattr("redis.retry.sleep", lambda seconds: None)
    asked = []

    def answer(connection):
        with connection:
            asked.append(connection.recv(65536))

    with server(answer) as address:
        settings = Settings(redis_url=f"redis://{address}/0", redis_timeout_s=30)
        with pytest.raises(errors.BrokerUnavailable), foreseen(settings):
            connect(settings).ping()

    assert len(asked) >= 4


def test_a_child_that_was_forked_while_a_thread_used_the_pool_goes_on():
    pool = connect(Settings()).connection_pool
    taken, done = threading.Event(), threading.Event()

    def hold():
        with pool._lock:
            taken.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    child = multiprocessing.get_context("fork").Process(target=pool.borrow, daemon=True)
    child.start()
    child.join(patient(10))
    done.set()
    thread.join()

    assert child.exitcode == 0

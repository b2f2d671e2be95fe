"""A recorded run is played again to a server, which answers each of its commands."""

import socket
import threading

import pytest

from bench import replays
from bench.sessions import Failed
from tests.support import patient


class Answering:
    """A server that gives the same answers to whoever connects; stands for redis-py's client."""

    def __init__(self, answers):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.connection_pool = self
        self.connection_kwargs = dict(
            zip(("host", "port"), self._listening.getsockname(), strict=True)
        )
        self._thread = threading.Thread(target=self._answer, args=(answers,))
        self._thread.start()

    def _answer(self, answers):
        connection, _ = self._listening.accept()
        with connection, self._listening:
            connection.sendall(answers)
            self.heard = connection.recv(4096)

    def close(self):
        self._thread.join(patient(10))


def test_a_replay_sends_the_commands_and_waits_for_every_answer():
    server = Answering(b"-NOSCRIPT none\r\n:1\r\n")

    seconds = replays.play(server, [[b"EVALSHA", b"x"], [b"LPUSH", b"a b"]], at_once=2)
    server.close()

    assert seconds > 0
    assert server.heard == b"*2\r\n$7\r\nEVALSHA\r\n$1\r\nx\r\n*2\r\n$5\r\nLPUSH\r\n$3\r\na b\r\n"


def test_a_replay_that_redis_refuses_has_failed():
    server = Answering(b"-OOM no memory\r\n")

    with pytest.raises(Failed, match="OOM no memory"):
        replays.play(server, [[b"LPUSH", b"a", b"b"]])

    server.close()

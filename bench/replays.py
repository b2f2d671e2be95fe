"""Records the commands that a system sends to Redis, and replays them in a loop that does nothing
else. The replay shows how fast the same work could be without the system's own code.
"""

import ast
import contextlib
import re
import socket
import threading
import time
from typing import Any, Self

import hiredis
import redis

from bench.sessions import Failed

Command = list[bytes]

# Commands that belong to a connection and not to a task, that would block, or whose result depends
# on the time of the replay (ids of stream entries).
_SKIPPED = frozenset(
    b"HELLO AUTH CLIENT SELECT PING ECHO INFO MONITOR CONFIG COMMAND SUBSCRIBE PSUBSCRIBE "
    b"UNSUBSCRIBE PUNSUBSCRIBE BRPOP BLPOP BLMOVE BLMPOP BZPOPMIN XREAD XREADGROUP XTRIM".split()
)
_LINE = re.compile(rb"\+?[\d.]+ \[\d+ ([^\]]*)\] (.*)", re.DOTALL)
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WITHIN_S = 30.0
_CHUNK_BYTES = 1_000_000
_MARK = b"bench:mark:"


def parse(line: bytes) -> tuple[bytes, Command] | None:
    """Return sender and command of a line of MONITOR; None for a command that a script ran."""
    found = _LINE.match(line)
    if found is None or found[1] == b"lua":
        return None
    words = [ast.literal_eval(f'b"{word.decode("ascii")}"') for word in _WORD.findall(found[2])]
    return (found[1], words) if words else None


class Recording:
    """A context manager that records the commands sent to Redis, grouped by marks."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._lines: list[bytes] = []
        self._marked: set[bytes] = set()

    def __enter__(self) -> Self:
        where = self._client.connection_pool.connection_kwargs
        self._socket = socket.create_connection((where["host"], where["port"]))
        self._socket.sendall(b"MONITOR\r\n")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._reader.join(_WITHIN_S)

    def mark(self, name: str) -> None:
        """Record the following commands under this name."""
        word = _MARK + name.encode()
        self._client.execute_command("ECHO", word)
        deadline = time.monotonic() + _WITHIN_S
        while word not in self._marked:
            if time.monotonic() > deadline:
                raise Failed("MONITOR does not show a command that was sent")
            time.sleep(0.002)

    def commands(self) -> dict[str, list[Command]]:
        """Return the commands after each mark, in order. '' holds those before the first mark."""
        own = str(self._client.client_info()["addr"]).encode()
        name, found = "", {"": list[Command]()}
        for line in self._lines:
            sent = parse(line)
            if sent is None:
                continue
            who, words = sent
            if words[-1].startswith(_MARK):
                name = words[-1].removeprefix(_MARK).decode()
                found[name] = []
            elif who != own and words[0].upper() not in _SKIPPED:
                found[name].append(words)
        return found

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 20):
                *lines, rest = (rest + data).split(b"\r\n")
                for line in lines:
                    self._lines.append(line)
                    at = line.find(b'"' + _MARK)
                    if at >= 0:
                        self._marked.add(line[at + 1 :].rstrip(b'"'))


def play(client: redis.Redis, commands: list[Command], *, at_once: int = 1) -> float:
    """Return the seconds until Redis has answered all; each round trip has `at_once` commands."""
    where = client.connection_pool.connection_kwargs
    chunks = _chunks([_packed(words) for words in commands], at_once)
    reader = hiredis.Reader()
    with socket.create_connection((where["host"], where["port"]), timeout=_WITHIN_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = time.perf_counter()
        for data, count in chunks:
            connection.sendall(data)
            for _ in range(count):
                while (answer := reader.gets()) is False:
                    reader.feed(connection.recv(1 << 16))
                _check(answer)
        return time.perf_counter() - started


def _packed(words: Command) -> bytes:
    lengths = b"*%d\r\n" % len(words)
    return lengths + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _chunks(packed: list[bytes], at_once: int) -> list[tuple[bytes, int]]:
    """Group commands into round trips, limited in number and in bytes."""
    chunks: list[tuple[bytes, int]] = []
    waiting: list[bytes] = []
    for data in packed:
        waiting.append(data)
        if len(waiting) == at_once or sum(map(len, waiting)) > _CHUNK_BYTES:
            chunks.append((b"".join(waiting), len(waiting)))
            waiting = []
    if waiting:
        chunks.append((b"".join(waiting), len(waiting)))
    return chunks


def _check(answer: Any) -> None:
    # NOSCRIPT is expected: as in the recording, the next command sends the whole script.
    if isinstance(answer, hiredis.ReplyError) and not str(answer).startswith("NOSCRIPT"):
        raise Failed(f"Redis refused a replayed command: {answer}")

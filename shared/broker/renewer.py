"""A small process that renews leases while its worker is too busy.

    python -I -S renewer.py      reads its orders from stdin, which `shared.broker.renewing` writes

A task that holds Python's GIL for a minute stops every thread of its worker. This process has a
GIL of its own. Before each renewal it checks the worker process: if that is gone or stopped
(SIGSTOP, a debugger), nothing is renewed. A frozen container freezes both processes.

The worker's own threads renew the same leases, and learn from Redis if one is lost. So this
process may be killed at any time, and its worker starts another.

Orders are arrays in Redis' own protocol, each with the id of the process that gives it:

    redis pid host port path timeout_s greeting answers [TLS option, value] …
    group pid name every_s at_once command …     the command to send at this interval
    add   pid name member argument …             the arguments to append for this member, which
                                                 the process has just renewed
    drop  pid name member
    here  pid                                    the threads of this process run

It has few imports, and no `site`, to stay small: 3 MB beside the memory that all processes of
this Python share.
"""

from __future__ import annotations

import _socket
import os
import time
from select import select

TYPE_CHECKING = False  # `typing` would need half as much memory again
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_IDLE_S = 5.0
_RETRY_S = 0.25
# Orders come in bursts, for example one for each acquired lock. Read them together.
_GATHER_S = 0.02
# A renewal by the process itself is missed after this many intervals.
_MISSED = 1.5
# A silent process that uses less processor time than this share is not busy: it hangs.
_BUSY_SHARE = 0.1
# The group whose members are files to touch after Redis has answered.
HEALTH = b"health"


class Watched:
    """A process whose leases are renewed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.heard_at = time.monotonic()  # the last order from one of its threads
        self.used = (self.heard_at, 0.0)  # when its processor time was read, and the time
        _, self._began, _ = look(pid)

    def state(self) -> str:
        """Return the state's letter: T or t if the process is stopped, Z if it is gone."""
        try:
            state, began, _ = look(self.pid)
        except OSError:
            return "Z"
        return state if began == self._began else "Z"

    def is_busy(self, for_s: float) -> bool:
        """Return True if the process used the CPU, but no thread of it reported for so long."""
        now, (before, used_s) = time.monotonic(), self.used
        self.used = now, look(self.pid)[2]
        share = (self.used[1] - used_s) / max(now - before, 0.001)
        return share >= _BUSY_SHARE and now - self.heard_at >= for_s


class Group:
    """A command that is sent at an interval, with the arguments of its members."""

    def __init__(self, every_s: float, at_once: int, command: list[bytes]) -> None:
        self.every_s = every_s
        self.at_once = at_once
        self.command = command
        self.members: dict[bytes, list[bytes]] = {}
        self.due = 0.0

    def add(self, member: bytes, arguments: list[bytes]) -> None:
        if self.members.keys() <= {member}:
            # The process has just renewed this lease. Renew it only if the next time is missed.
            self.due = time.monotonic() + self.every_s * _MISSED
        self.members[member] = arguments

    def packed(self) -> tuple[bytes, int]:
        """Return the commands in Redis' protocol, and their number."""
        members = list(self.members.values())
        lots = [members[i : i + self.at_once] for i in range(0, len(members), self.at_once)]
        commands = [self.command + [part for one in lot for part in one] for lot in lots]
        return b"".join(map(pack, commands)), len(commands)


class Redis:
    """A connection that reconnects after any error."""

    def __init__(self, order: list[bytes]) -> None:
        host, port, self._path, timeout, self._greeting, answers = order[:6]
        self._host, self._port = host.decode(), int(port)
        self._timeout_s, self._answers = float(timeout), int(answers)
        texts = [text.decode() for text in order[6:]]
        self._tls = dict(zip(texts[::2], texts[1::2], strict=True))
        self._socket: Any = None
        self._buffer = b""

    def ask(self, commands: bytes, answers: int) -> bool:
        """Return True if all commands succeeded. Raises OSError if Redis is unavailable."""
        try:
            if self._socket is None:
                self._socket = self._connect()
                self._socket.sendall(self._greeting)
                if not self._read(self._answers):
                    raise OSError("Redis does not let us in")
            self._socket.sendall(commands)
            done = self._read(answers)
        except (OSError, ValueError) as error:
            self.close()
            raise OSError(str(error)) from error
        if not done:
            # Redis has lost the scripts, or is read-only now. Connect again, perhaps to a new master.
            self.close()
        return done

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def _connect(self) -> Any:
        if self._path:
            made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            made.settimeout(self._timeout_s)
            made.connect(self._path)
            return made
        failed = OSError("the name of Redis' host has no address")
        for family, kind, protocol, _, address in _socket.getaddrinfo(
            self._host, self._port, 0, _socket.SOCK_STREAM
        ):
            made = _socket.socket(family, kind, protocol)
            made.settimeout(self._timeout_s)
            try:
                made.connect(address)
                return self._encrypted(made) if self._tls else made
            except OSError as error:
                made.close()
                failed = error
        raise failed

    def _encrypted(self, made: Any) -> Any:
        """Wrap the socket in TLS, with redis-py's options."""
        import socket  # noqa: PLC0415 - doubles the memory; needed for TLS only
        import ssl  # noqa: PLC0415

        get = self._tls.get
        context = ssl.create_default_context()
        context.check_hostname = get("check_hostname") == "1"
        context.verify_mode = ssl.VerifyMode(int(self._tls["cert_reqs"]))
        if get("certfile") or get("keyfile"):
            context.load_cert_chain(self._tls["certfile"], get("keyfile"), get("password"))
        if get("ca_certs") or get("ca_path") or get("ca_data"):
            context.load_verify_locations(get("ca_certs"), get("ca_path"), get("ca_data"))
        if get("min_version"):
            context.minimum_version = ssl.TLSVersion(int(self._tls["min_version"]))
        if get("ciphers"):
            context.set_ciphers(self._tls["ciphers"])
        plain = socket.socket(fileno=made.detach())
        plain.settimeout(self._timeout_s)
        return context.wrap_socket(plain, server_hostname=self._host)

    def _read(self, answers: int) -> bool:
        """Read this many answers. Returns True if none of them was an error."""
        well = True
        while answers:
            found = parse(self._buffer, 0)
            if found is None:
                data = self._socket.recv(65536)
                if not data:
                    raise OSError("Redis has closed the connection")
                self._buffer += data
                continue
            value, end = found
            self._buffer = self._buffer[end:]
            well = well and not isinstance(value, Exception)
            answers -= 1
        return well


class Renewer:
    """The orders, and the loop that renews."""

    def __init__(self) -> None:
        self._redis: Redis | None = None
        self._watched: dict[int, Watched] = {}
        self._groups: dict[tuple[int, bytes], Group] = {}
        self._orders = b""

    def run(self) -> None:
        """Renew until the pipe is closed, or no watched process is left."""
        while True:
            due = min((group.due for group in self._groups.values() if group.members), default=None)
            left_s = _IDLE_S if due is None else min(_IDLE_S, max(0.0, due - time.monotonic()))
            if select([0], [], [], left_s)[0]:
                data = os.read(0, 1 << 20)
                if not data:
                    return
                self._take(data)
                time.sleep(_GATHER_S)
            elif due is None and not self._find_living():
                return
            self._renew()

    def _take(self, data: bytes) -> None:
        self._orders += data
        at = 0
        while (found := parse(self._orders, at)) is not None:
            order, at = found
            self._obey(order)
        self._orders = self._orders[at:]

    def _obey(self, order: list[bytes]) -> None:
        word, pid, rest = order[0], int(order[1]), order[2:]
        if pid not in self._watched:
            try:
                self._watched[pid] = Watched(pid)
            except OSError:
                return  # the process has already ended
        self._watched[pid].heard_at = time.monotonic()
        if word == b"redis":
            if self._redis is not None:
                self._redis.close()
            self._redis = Redis(rest)
        elif word == b"group":
            name, every_s, at_once, *command = rest
            group = self._groups.setdefault((pid, name), Group(0.0, 0, []))
            group.every_s, group.at_once, group.command = float(every_s), int(at_once), command
        elif word == b"add":
            self._groups[pid, rest[0]].add(rest[1], rest[2:])
        elif word == b"drop":
            self._groups[pid, rest[0]].members.pop(rest[1], None)

    def _find_living(self) -> bool:
        """Forget the processes that are gone. Returns True if others are left."""
        for pid, watched in list(self._watched.items()):
            if watched.state() in "ZX":
                del self._watched[pid]
                self._groups = {key: group for key, group in self._groups.items() if key[0] != pid}
        return bool(self._watched)

    def _due(self) -> Iterator[tuple[tuple[int, bytes], Group]]:
        now = time.monotonic()
        for (pid, name), group in self._groups.items():
            if not group.members or group.due > now:
                continue
            group.due = now + group.every_s
            watched = self._watched[pid]
            if watched.state() in "TtZX" or (name == HEALTH and not watched.is_busy(group.every_s)):
                continue
            yield (pid, name), group

    def _renew(self) -> None:
        due = dict(self._due())
        if self._redis is None or not due:
            return
        packed = [group.packed() for group in due.values()]
        commands = b"".join(commands for commands, _ in packed)
        try:
            done = self._redis.ask(commands, sum(answers for _, answers in packed))
        except OSError:
            for group in due.values():
                group.due = time.monotonic() + min(group.every_s, _RETRY_S)
            return
        for (_, name), group in due.items():
            if name == HEALTH and done:
                touch(group.members)


def touch(paths: dict[bytes, list[bytes]]) -> None:
    """Set the modification time of a worker's files to now."""
    for path in paths:
        try:
            os.utime(path)
        except OSError:
            continue


def look(pid: int) -> tuple[str, str, float]:
    """Return a process's state, start time and CPU seconds. Raises OSError if it is gone."""
    if not _HAS_PROC:
        return look_with_ps(pid)
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The process's name comes first, in parentheses. It may contain spaces and parentheses.
        found = file.read().rpartition(b")")[2].split()
    ticks = int(found[11]) + int(found[12])
    return found[0].decode(), found[19].decode(), ticks / _TICKS_PER_S


def look_with_ps(pid: int) -> tuple[str, str, float]:
    """Do the same on systems without /proc, such as macOS."""
    import subprocess  # noqa: PLC0415 - needed on such systems only

    command = ("/bin/ps", "-o", "state=", "-o", "time=", "-o", "lstart=", "-p", str(pid))
    environment = {"LC_ALL": "C"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
    state, used, *began = done.stdout.decode().split() or ["Z", "0", ""]
    if state == "Z" and not done.stdout:
        raise ProcessLookupError(pid)
    used_s = 0.0
    for part in used.replace("-", ":").split(":"):
        used_s = used_s * 60 + float(part)
    return state[0], " ".join(began), used_s


_HAS_PROC = os.path.exists("/proc/self/stat")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def pack(command: list[bytes]) -> bytes:
    """Return a command or an order in Redis' protocol."""
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n" % len(command) + b"".join(parts)


def parse(data: bytes, at: int) -> tuple[Any, int] | None:
    """Return the value at a position, and its end; None if the data is incomplete."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, text, end = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"+":
        return text, end
    if kind == b"-":
        return ValueError(text), end
    if kind == b":":
        return int(text), end
    length = int(text)
    if length < 0:
        return None, end
    if kind == b"$":
        return (
            (data[end : end + length], end + length + 2) if len(data) >= end + length + 2 else None
        )
    if kind != b"*":
        raise ValueError("this is not Redis' protocol")
    values = []
    for _ in range(length):
        found = parse(data, end)
        if found is None:
            return None
        values.append(found[0])
        end = found[1]
    return values, end


def main() -> None:
    """Serve the process at the other end of stdin."""
    os.chdir("/")  # do not block the unmounting of a folder
    os.closerange(3, 65536)  # close the files of the worker
    Renewer().run()


if __name__ == "__main__":
    main()

"""Renews leases of this process even while a task holds the GIL.

    this process, and its forked children          renewer (a process, one for all of them)
    keep("owner", …) ── a pipe ──────────────────► every few seconds: is that process alive,
    drop("owner", …) ────────────────────────────► and not stopped? Then Redis: renew

The threads of this process renew the same leases at the same intervals, and read Redis' answers.
`shared.broker.renewer` replaces them while they cannot run. So this module never waits for the
renewer, and raises nothing if there is none.
"""

import contextlib
import errno
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hiredis import pack_command
from kombu.log import get_logger

from shared.broker import renewer
from shared.broker.connections import connect
from shared.settings import current

logger = get_logger(__name__)

Part = str | bytes | int | float

# Several processes may write to the pipe, and only writes up to this size are atomic. (macOS has a
# smaller limit. A renewer that cannot read a mixed order there ends, and is replaced.)
LARGEST = max(select.PIPE_BUF, 4096)
# The renewer inherits only the variables that the interpreter and TLS need.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
# The renewer ignores these signals, which are for the worker. It ends after its worker.
_NOT_FOR_IT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_AT_ONCE = 100
_RETRY_S = 30.0


class Group:
    """Leases that one command renews. Its methods are safe from any thread."""

    def __init__(self, name: str, *, at_once: int = 1) -> None:
        self.name = name
        self._at_once = at_once
        self._orders: dict[str, tuple[Part, ...]] = {}
        self._command: tuple[Part, ...] = ()
        _groups.append(self)

    def every(self, seconds: float, *command: Part) -> None:
        """Set the command and its interval. The members' arguments are appended to the command."""
        told = ("group", os.getpid(), self.name, seconds, self._at_once, *command)
        if told != self._command:
            self._command = told
            _renewer.order(told)

    def keep(self, member: str, *arguments: Part) -> None:
        """Start renewing a lease, or tell that this process has just renewed it itself."""
        self._orders[member] = arguments
        _renewer.order(("add", os.getpid(), self.name, member, *arguments))

    def drop(self, member: str) -> None:
        """Stop renewing a lease."""
        if self._orders.pop(member, None) is not None:
            _renewer.order(("drop", os.getpid(), self.name, member))

    def members(self) -> list[str]:
        """Return the members whose leases are renewed."""
        return list(self._orders)

    def orders(self) -> Iterable[tuple[Part, ...]]:
        """Return the orders that a new renewer needs."""
        if self._command:
            yield self._command
        for member, arguments in list(self._orders.items()):
            yield ("add", os.getpid(), self.name, member, *arguments)

    def forget(self) -> None:
        """Start without members, in a forked child."""
        self._orders, self._command = {}, ()


class _Renewer:
    """The renewer process that this process, or its parent before the fork, has started."""

    def __init__(self) -> None:
        self.pid = 0  # the renewer's pid, if this process must reap it
        self._pipe = -1
        self._inode = 0
        self._lock = threading.Lock()
        self._failed_at = -_RETRY_S

    def order(self, order: tuple[Part, ...]) -> None:
        """Send an order; start a renewer if there is none."""
        with self._lock:
            if self._is_open() and self._write(_pack(order)):
                return
            self._start()

    def look_after(self) -> None:
        """Start another renewer if it has ended, and report that this process's threads run."""
        with self._lock:
            if self._pipe < 0:
                return
            here = _pack(("here", os.getpid()))
            if self._has_ended() or not self._is_open() or not self._write(here):
                self._start()

    def stop(self) -> None:
        """Close the pipe; end the renewer if this process has started it."""
        with self._lock:
            if self._pipe >= 0 and self._is_open():
                os.close(self._pipe)
            self._pipe = -1
            self._reap()

    def become_inherited(self) -> None:
        """Share the parent's renewer, in a forked child."""
        self.pid = 0
        self._lock = threading.Lock()

    def _reap(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            with contextlib.suppress(ChildProcessError):
                _system("waitpid")(self.pid, 0)
            self.pid = 0

    def _has_ended(self) -> bool:
        if not self.pid:
            return False
        try:
            ended = bool(_system("waitpid")(self.pid, os.WNOHANG)[0])
        except ChildProcessError:
            ended = True  # other code has reaped the renewer
        if ended:
            self.pid = 0
        return ended

    def _is_open(self) -> bool:
        """True if the descriptor is still our pipe. A child may have closed inherited descriptors."""
        try:
            return self._pipe >= 0 and self._inode == os.fstat(self._pipe).st_ino
        except OSError:
            return False

    def _write(self, data: bytes) -> bool:
        """Write if the pipe has room. Returns False if nobody reads the pipe any more."""
        if len(data) > LARGEST:
            return True  # only the threads of this process renew this lease
        try:
            os.write(self._pipe, data)
        except BlockingIOError:
            pass  # the pipe is full; the threads of this process renew this lease too
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EBADF):
                raise
            return False
        return True

    def _start(self) -> None:
        self._reap()
        if self._pipe >= 0 and self._is_open():
            os.close(self._pipe)
        self._pipe = -1
        if time.monotonic() - self._failed_at < _RETRY_S:
            return
        try:
            self._spawn()
        except Exception as error:
            # A system without posix_spawn, an embedded interpreter, invalid settings …
            self._failed_at = time.monotonic()
            logger.info("leases are renewed by threads alone, no renewer starts: %s", error)

    def _spawn(self) -> None:
        name = Path(sys.executable or "").name
        if not name.startswith(("python", "pypy")):
            raise OSError(f"{sys.executable!r} is no Python")
        first = _pack(_introduction())
        reading, writing = os.pipe()
        try:
            os.set_blocking(writing, False)
            self.pid = _system("posix_spawn")(
                sys.executable,
                [sys.executable, "-I", "-S", renewer.__file__],
                {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsigmask=_NOT_FOR_IT,
            )
            os.write(writing, first)
            for group in _groups:
                for order in group.orders():
                    data = _pack(order)
                    if len(data) <= LARGEST:
                        os.write(writing, data)
        except BlockingIOError:
            pass  # the pipe is full: the threads of this process renew the rest
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._pipe, self._inode = writing, os.fstat(writing).st_ino


def _introduction() -> tuple[Part, ...]:
    """Return the order with the address of Redis and the commands that log in."""
    settings = current()
    pool: Any = connect(settings).connection_pool
    made = pool.make_connection()
    greeting: list[tuple[Part, ...]] = []
    if made.password:
        greeting.append(("AUTH", *([made.username] if made.username else []), made.password))
    if made.db:
        greeting.append(("SELECT", made.db))
    said = b"".join(map(_pack, greeting))
    return (
        *("redis", os.getpid(), getattr(made, "host", ""), getattr(made, "port", 0)),
        *(getattr(made, "path", ""), made.socket_timeout or 5.0, said, len(greeting)),
        *_tls(made),
    )


def _tls(made: Any) -> Iterable[Part]:
    if not hasattr(made, "cert_reqs"):
        return
    options = {
        "cert_reqs": int(made.cert_reqs),
        "check_hostname": int(made.check_hostname),
        "certfile": made.certfile,
        "keyfile": made.keyfile,
        "password": made.certificate_password,
        "ca_certs": made.ca_certs,
        "ca_path": made.ca_path,
        "ca_data": made.ca_data,
        "min_version": made.ssl_min_version and int(made.ssl_min_version),
        "ciphers": made.ssl_ciphers,
    }
    for name, value in options.items():
        if value is not None:
            yield name
            yield value


def _pack(parts: tuple[Part, ...]) -> bytes:
    command: Any = parts
    return bytes(pack_command(command))


def _system(name: str) -> Any:
    """Return the original function of `os`, even if gevent has replaced it."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return getattr(os, name) if monkey is None else monkey.get_original("os", name)


_groups: list[Group] = []
_renewer = _Renewer()
look_after, stop = _renewer.look_after, _renewer.stop


def start() -> None:
    """Start the renewer now, so that the processes that are forked later share it."""
    _renewer.order(("here", os.getpid()))


def _become_another() -> None:
    _renewer.become_inherited()
    for group in _groups:
        group.forget()


os.register_at_fork(after_in_child=_become_another)

# The groups of leases. For owners, see `shared.broker.ownership`.
owners = Group("owners")
presence = Group("presence")
replies = Group("replies")
holds = Group("holds", at_once=_AT_ONCE)
handles = Group("handles", at_once=_AT_ONCE)
health = Group(renewer.HEALTH.decode())

"""``multiprocessing.connection``: pipes between processes on any machine.

Each end has a list of messages, and a set of *openers*: one entry for each object, in any process,
through which the end is open. The object's process renews the entry (`shared.handles.leases`). An
end is closed when its last opener closes, or when the entry lapses because its process was killed.
The other end then reads the remaining messages, and after these gets EOFError.

    parent                  Redis                         child
    a, b = Pipe()           b is open: {parent}
    Process(args=(b,))      b is open: {parent, child}    before the child is born
    b.close()               b is open: {child}
    a.recv() waits                                        b.send(1), b.close()
    1, then EOFError        b is open: {}

Differences from the standard library: there is no file descriptor (`fileno` raises OSError);
`Listener` and `Client` are left out: pass an end of a pipe instead.
"""

import io
import itertools
import os
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import BufferTooShort, util
from multiprocessing.connection import wait as wait_locally
from types import TracebackType
from typing import Any, Self

from shared.errors import DaySixError, MessageTooLarge
from shared.handles.base import Handle, reopen
from shared.handles.leases import Hold, keeper
from shared.handles.scripts import Script, hear, hear_beside, me, ticket
from shared.multiprocessing import items
from shared.settings import current

__all__ = ["Connection", "Pipe", "wait"]

_COMMON = """
  local present = now()
  local function is_open(one)
    return redis.call('zcount', one .. ':claims', '(' .. present, '+inf') > 0
  end
  local function wake(one)
    for _, ticket in ipairs(redis.call('lrange', one .. ':line', 0, -1)) do ring(ticket, 1) end
    redis.call('del', one .. ':line')
  end
"""

# arg: the lease in ms, an opener to remove ('' none), new openers.
_OPEN = Script(
    _COMMON
    + """
  for i = 3, #arg do redis.call('zadd', name .. ':claims', present + arg[1], arg[i]) end
  redis.call('zrem', name .. ':claims', arg[2])
  keep('', ':items', ':claims', ':line', ':refs')
  return 1
"""
)

# arg: the opener, the other end.
_CLOSE = Script(
    _COMMON
    + """
  redis.call('zrem', name .. ':claims', arg[1])
  if not is_open(name) then wake(arg[2]) end
  return 1
"""
)

# Runs on the other end's name. arg: item. Returns 1 if sent, 0 if the other end is closed.
_SEND = Script(
    _COMMON
    + """
  redis.call('zremrangebyscore', name .. ':claims', '-inf', present)
  if not is_open(name) then return 0 end
  redis.call('rpush', name .. ':items', arg[1])
  refer(arg[1], 1)
  wake(name)
  keep('', ':items', ':claims', ':line', ':refs')
  return 1
"""
)

_READY = (
    _COMMON
    + """
  local ticket, other = arg[1], arg[2]
  redis.call('lrem', name .. ':line', 1, ticket)
  if redis.call('llen', name .. ':items') == 0 then
    if not is_open(other) then return {-1} end
    if ticket ~= '' then redis.call('rpush', name .. ':line', ticket) end
    keep(':line')
    return {0}
  end
"""
)
# arg: a ticket whose bell is to ring ('' none), the other end. Returns {1} if there is a message,
# {-1} if the other end is closed, {0} if neither.
_POLL = Script(_READY + "return {1}")
# The same, but removes the message and returns {1, item}.
_RECEIVE = Script(
    _READY
    + """
  local item = redis.call('lpop', name .. ':items')
  refer(item, -1)
  keep(':items', ':refs')
  return {1, item}
"""
)

_FORGET = Script("return redis.call('lrem', name .. ':line', 1, arg[1])")


class Connection(Handle):
    """``multiprocessing.connection.Connection``: one end of a pipe.

    Its methods raise OSError after `close`, and `BrokerUnavailable` if Redis does not answer.
    """

    _kind = "connection"

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        self._other, self._readable, self._writable, transit = parameters
        super()._open(name)
        self._hold = Hold(self._name, _opener(), revives=True)
        _OPEN(self._name, _lease_ms(), transit, self._hold.ticket)
        self._start()

    def _start(self) -> None:
        self._closed = False
        keeper.keep(self._hold)
        _alive.add(self)
        # If `close` is not called, the end closes when its entry lapses.
        weakref.finalize(self, setattr, self._hold, "over", True).atexit = False

    def _names(self) -> tuple[str, ...]:
        return self._name, self._other

    def _parameters(self) -> list[Any]:
        # This opener keeps the end open while the handle travels.
        transit = _opener()
        _OPEN(self._name, int(current().handle_lease_s * 1000), "", transit)
        return [self._other, self._readable, self._writable, transit]

    def __handle__(self) -> list[Any]:
        self._check_closed()
        return super().__handle__()

    @property
    def closed(self) -> bool:
        """True if this object is closed."""
        return self._closed

    @property
    def readable(self) -> bool:
        """True if this end can receive."""
        return bool(self._readable)

    @property
    def writable(self) -> bool:
        """True if this end can send."""
        return bool(self._writable)

    def fileno(self) -> int:
        """Raises OSError, because a remote pipe has no file descriptor."""
        self._check_closed()
        raise io.UnsupportedOperation("fileno: a remote pipe has none; use wait() of this module")

    def close(self) -> None:
        """Close this end in this process. Other processes may still have it open."""
        if not self._closed:
            self._closed = True
            keeper.drop(self._hold)
            _alive.discard(self)
            _CLOSE(self._name, self._hold.ticket, self._other)

    def send(self, obj: Any) -> None:
        """Send an object. Does not wait for the receiver.

        Raises `NotPortable` for an object that cannot be sent, `MessageTooLarge`, and
        BrokenPipeError if the other end is closed.
        """
        self._check_closed()
        self._check_writable()
        self._send(items.encode(obj, "the message"))

    def recv(self) -> Any:
        """Wait for the next object and return it.

        Raises EOFError if no message is left and the other end is closed.
        """
        return items.decode(self._receive())

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send a bytes-like object, or `size` bytes of it from `offset`.

        Raises `MessageTooLarge`, ValueError for a wrong range, and BrokenPipeError if the other end
        is closed.
        """
        self._check_closed()
        self._check_writable()
        view = memoryview(buf)
        if view.itemsize > 1:
            view = view.cast("B")
        length = view.nbytes
        if offset < 0:
            raise ValueError("offset is negative")
        if length < offset:
            raise ValueError("buffer length < offset")
        if size is None:
            size = length - offset
        elif size < 0:
            raise ValueError("size is negative")
        elif offset + size > length:
            raise ValueError("buffer length < offset + size")
        if size > current().message_limit_bytes:
            raise MessageTooLarge("the message", size, current().message_limit_bytes)
        self._send(items.wrap(bytes(view[offset : offset + size]), []))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Wait for the next message and return its bytes.

        Raises EOFError as `recv` does. Raises OSError if the message is longer than `maxlength`
        bytes; after that this end cannot receive any more.
        """
        self._check_closed()
        self._check_readable()
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        data = items.unwrap(self._receive())
        if maxlength is not None and len(data) > maxlength:
            if self._writable:
                self._readable = False
            else:
                self.close()
            raise OSError("bad message length")
        return data

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Wait for the next message, write it into a buffer, and return its length in bytes.

        Raises EOFError as `recv` does, and ``BufferTooShort``, which holds the bytes, if the buffer
        is too small.
        """
        self._check_closed()
        self._check_readable()
        with memoryview(buf) as view, view.cast("B") as target:
            if offset < 0:
                raise ValueError("negative offset")
            if offset > len(target):
                raise ValueError("offset too large")
            data = items.unwrap(self._receive())
            if len(target) < offset + len(data):
                raise BufferTooShort(data)
            target[offset : offset + len(data)] = data
            return len(data)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """True if `recv` would return, or raise EOFError, at once.

        Waits for that, at most `timeout` seconds. None waits for ever; a negative timeout counts
        as 0.
        """
        self._check_closed()
        self._check_readable()
        return bool(wait([self], timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, item: bytes) -> None:
        if not _SEND(self._other, item):
            raise BrokenPipeError(32, "Broken pipe: the other end is closed")

    def _receive(self) -> bytes:
        self._check_closed()
        self._check_readable()
        the_ticket = ticket()
        try:
            while True:
                state, *items = _RECEIVE(self._name, the_ticket, self._other)
                if state > 0:
                    return bytes(items[0])
                if state < 0:
                    raise EOFError
                hear(the_ticket, None)
        except (KeyboardInterrupt, SystemExit):
            self._forget(the_ticket)
            raise

    def _ready(self, the_ticket: str) -> bool:
        """For `wait`: true if the end is ready. If not, the ticket's bell rings once it is."""
        self._check_closed()
        return bool(_POLL(self._name, the_ticket, self._other)[0])

    def _forget(self, the_ticket: str) -> None:
        """For `wait`: stop ringing the ticket's bell."""
        with suppress(DaySixError):
            _FORGET(self._name, the_ticket)

    def _check_closed(self) -> None:
        if self._closed:
            raise OSError("handle is closed")

    def _check_readable(self) -> None:
        if not self._readable:
            raise OSError("connection is write-only")

    def _check_writable(self) -> None:
        if not self._writable:
            raise OSError("connection is read-only")

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} {self._name!r}>"


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:  # noqa: N802 - the standard library's name
    """Two connected ends of a pipe.

    With ``duplex=False`` the first end only receives and the second only sends. Raises
    `BrokerUnavailable` if Redis does not answer.
    """
    names = [f"connection:{ticket()}", f"connection:{ticket()}"]
    first = reopen(Connection, names[0], [names[1], True, duplex, ""])
    second = reopen(Connection, names[1], [names[0], duplex, True, ""])
    return first, second


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Wait until an object is ready, at most `timeout` seconds. Returns the ready objects.

    None waits for ever, and a negative timeout counts as 0. Accepts these connections, and all
    objects that ``multiprocessing.connection.wait`` accepts.
    """
    objects = list(object_list)
    ours = [one for one in objects if hasattr(one, "_ready")]
    others = [one for one in objects if not hasattr(one, "_ready")]
    if not ours:
        return wait_locally(others, timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    the_ticket = ticket()
    try:
        while True:
            late = deadline is not None and time.monotonic() >= deadline
            ready = [one for one in ours if one._ready("" if late else the_ticket)]
            ready += wait_locally(others, 0) if others else []
            if ready or late:
                return [one for one in objects if any(one is other for other in ready)]
            if others:
                hear_beside(the_ticket, deadline, others)
            else:
                hear(the_ticket, deadline)
    finally:
        if timeout is None or timeout > 0:
            for one in ours:
                one._forget(the_ticket)


_alive: weakref.WeakSet[Connection] = weakref.WeakSet()
_numbers = itertools.count(1)
_forks: list[tuple[Connection, str]] = []


def _opener() -> str:
    return f"{me()}:{next(_numbers)}"


def _lease_ms() -> int:
    return int(current().lock_lease_s * 1000)


# A forked child has the same ends open. Its openers are recorded before the fork: otherwise the
# parent, as the last opener, could close an end in the meantime.


def _before_fork() -> None:
    _forks.clear()
    with suppress(DaySixError):
        for connection in list(_alive):
            opener = _opener()
            _OPEN(connection._name, _lease_ms(), "", opener)
            _forks.append((connection, opener))


def _in_child() -> None:
    for connection, opener in _forks:
        connection._hold = Hold(connection._name, opener, revives=True)
        connection._start()
    _forks.clear()


def _close_all() -> None:
    with suppress(DaySixError):
        for connection in list(_alive):
            connection.close()


def _at_exit(_: object = None) -> None:
    # Run before the last finalizers of the standard library's multiprocessing, in a child too.
    util.Finalize(None, _close_all, exitpriority=10)


os.register_at_fork(before=_before_fork, after_in_parent=_forks.clear, after_in_child=_in_child)
util.register_after_fork(_close_all, _at_exit)
_at_exit()

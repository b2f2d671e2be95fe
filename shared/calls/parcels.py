"""Parcels: large buffers that are stored in Redis beside the message, in pieces, once.

    caller                         Redis                     worker
    array of 100 MB
    hash; new? ── pieces of 8 MB ─► parcel:…
    message with its name ────────────────────────────────► allocate the array,
                                             pieces ──────► read into it
    outcome: delete ──────────────► (a result is deleted by whoever reads it)

A buffer is neither encoded nor copied whole, so each side needs little more memory than the
array itself takes. While a caller waits for a call it keeps the call's parcels alive, like any
handle. The same bytes for another call are sent once as long as the parcel, or the array that
it came from, lives.

Only where `codec.dumps` is told their purpose are parcels made: for the arguments of calls, their
outcomes, and the items of queues and managed objects.
"""

import collections
import contextlib
import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from shared.broker.connections import foreseen, store
from shared.errors import HandleLost, NotPortable
from shared.handles.base import Handle, key_of, reopen
from shared.settings import current

_PIECE_BYTES = 8 << 20
_MOST_BYTES = 512 << 20  # that one Redis string holds
_PREFIX = "parcel:"


class Parcel(Handle):
    """The name of a buffer in Redis, and its size; read once or as often as needed."""

    _kind = "parcel"
    _is_read_once: bool

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        self.size_bytes, self._is_read_once = parameters
        if type(self.size_bytes) is not int or (name and not name.startswith(_PREFIX)):
            raise NotPortable("a message", "its parcel has an invalid name or size")
        super()._open(name)

    def _parameters(self) -> list[Any]:
        return [self.size_bytes, self._is_read_once]

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer of the parcel's size; `HandleLost` when the parcel is gone."""
        with foreseen():
            for start in range(0, self.size_bytes, _PIECE_BYTES):
                end = min(start + _PIECE_BYTES, self.size_bytes)
                piece: Any = store().getrange(self._name, start, end - 1)
                if len(piece) != end - start:
                    raise HandleLost(self._name, current().handle_lease_s)
                buffer[start:end] = piece
            if self._is_read_once:
                store().unlink(self._name)

    def check(self) -> None:
        """Raise `HandleLost` unless Redis has as many bytes as the parcel says."""
        with foreseen():
            if store().strlen(self._name) != self.size_bytes:
                raise HandleLost(self._name, current().handle_lease_s)


class Purpose(Enum):
    """The purpose of a parcel, which decides which side deletes it."""

    CALL = "call"  # whoever waits for the call
    ANSWER = "answer"  # whoever reads it
    ITEM = "item"  # its lease, once no container refers to it


class _Here(threading.local):
    kept: list[Parcel] | None = None
    purpose: Purpose | None = None


_here = _Here()
# Parcels by the hash of their bytes, while they are in use.
_alive: "weakref.WeakValueDictionary[bytes, Parcel]" = weakref.WeakValueDictionary()
# The parcels of the last arrays, as long as those live.
_of_arrays: "collections.OrderedDict[int, tuple[Any, Parcel]]" = collections.OrderedDict()
_ARRAYS = 8
# Names of unused parcels, deleted when the next parcel is sent.
_over: "collections.deque[str]" = collections.deque()


class Large(Exception):
    """Raised for a large buffer outside `keeping`: the value is encoded again inside it."""


class Payload(bytes):
    """The bytes of a value. Its large buffers are stored beside them while `kept` lives."""

    kept: list[Parcel]


@contextlib.contextmanager
def keeping(purpose: Purpose | None) -> Iterator[list[Parcel]]:
    """Have large buffers that this thread encodes go as parcels; the list keeps them alive.

    Without a purpose they stay in their message.
    """
    before = _here.kept, _here.purpose
    _here.kept, _here.purpose = [], purpose
    try:
        yield _here.kept
    finally:
        _here.kept, _here.purpose = before


def takes(size_bytes: int) -> bool:
    """Whether a buffer of this size goes as a parcel; raises `Large` to be asked again.

    So a value without large buffers, as nearly all are, costs nothing here.
    """
    if size_bytes <= current().message_limit_bytes // 4 or size_bytes > _MOST_BYTES:
        return False
    if _here.kept is None:
        raise Large
    return _here.purpose is not None


def send(owner: Any, buffer: Callable[[], memoryview]) -> Parcel:
    """The parcel that holds these bytes of the owner, sent unless the same are there."""
    kept = _here.kept
    if kept is None:
        raise RuntimeError("nobody keeps the parcel")
    data = buffer()
    if _here.purpose is not Purpose.CALL:
        made = reopen(Parcel, None, [data.nbytes, _here.purpose is Purpose.ANSWER])
        _write(made, data)
    else:
        mark = hashlib.blake2b(data, digest_size=32).digest()
        found = _alive.get(mark)
        if found is None:
            found = reopen(Parcel, None, [data.nbytes, False])
            weakref.finalize(found, _end, key_of(found), os.getpid()).atexit = False
            _write(found, data)
            _alive[mark] = found
        made = found
        _remember(owner, made)
    kept.append(made)
    return made


def _end(name: str, process: int) -> None:
    """Note a parcel for deletion. Sends no command, because garbage collection calls this."""
    if process == os.getpid():  # to a forked child it was never its own
        _over.append(name)


def _become_another() -> None:
    _alive.clear()
    _of_arrays.clear()
    _over.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_become_another)


def _remember(owner: Any, parcel: Parcel) -> None:
    """Keep a parcel while the array lives that it came from; of the last few arrays."""
    key = id(owner)
    with contextlib.suppress(TypeError):
        _of_arrays[key] = weakref.ref(owner, lambda _: _of_arrays.pop(key, None)), parcel
    while len(_of_arrays) > _ARRAYS:
        with contextlib.suppress(KeyError):
            _of_arrays.popitem(last=False)


def _write(parcel: Parcel, data: memoryview) -> None:
    lease_ms = int(current().handle_lease_s * 1000)
    with foreseen():
        client = store()
        while _over:
            with contextlib.suppress(IndexError):
                client.unlink(_over.popleft())
        for start in range(0, data.nbytes, _PIECE_BYTES):
            pipeline = client.pipeline()
            pipeline.setrange(key_of(parcel), start, bytes(data[start : start + _PIECE_BYTES]))
            pipeline.pexpire(key_of(parcel), lease_ms)
            pipeline.execute()

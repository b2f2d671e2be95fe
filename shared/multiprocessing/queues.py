"""``multiprocessing.queues``: one queue for processes on any machine.

    put, queue not full     append the item
    put, queue full         store the item as *pending*, wait for a bell (a list of its own)
    get                     take the first item; the oldest pending item moves up, its bell rings
    get, queue empty        BLMOVE: Redis wakes the getter that has waited longest

A pending item moves up without its putter. So a killed putter blocks no other, and items keep the
order of the calls.

Each getter has a *hand*, a list of its own, through which its item passes. The hand is needed
because the answer to a blocking command may be lost with its connection:

    getter                             Redis
    take(ticket) ────────────────────► queue empty; hand = [ticket]
    BLMOVE items hand ───────────────► (put) item moves to the hand: [ticket, item]
                          ✗ ◄───────── the connection breaks
    take(ticket) again ──────────────► the hand has it: the item, once

Differences from the standard library: `put` encodes and stores the item before it returns. So an
item that cannot be sent is refused at the call, there is no feeder thread, and `join_thread` has
nothing to wait for.
"""

import time
import types
from contextlib import suppress
from queue import Empty, Full
from typing import Any

from shared.errors import DaySixError
from shared.handles.base import Handle
from shared.handles.scripts import Script, block, hear, me, ticket
from shared.multiprocessing import items

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

# How long one BLMOVE waits. A getter that repeats the command goes to the end of Redis' line, so
# the time is long.
_BLOCK_S = 20.0
# How long an item stays in the hand of a getter that does not return for it.
_HAND_MS = 60_000

_MOVE_UP = """
  local function move_up(size)  -- pending items take the free places, in their order
    while redis.call('llen', name .. ':items') < size do
      local ticket = redis.call('lpop', name .. ':pending')
      if not ticket then break end
      local item = redis.call('hget', name .. ':held', ticket)
      redis.call('hdel', name .. ':held', ticket)
      redis.call('rpush', name .. ':items', item)
      redis.call('hincrby', name, 'unfinished', 1)
      ring(ticket, 1)
    end
  end
"""

# arg: item, size (0: no limit), ticket ('' = do not wait).
# Returns 1 if the item is in the queue, 0 if the queue is full or the item is pending.
_PUT = Script(
    _MOVE_UP
    + """
  local item, size, ticket = arg[1], tonumber(arg[2]), arg[3]
  local done = 0
  if size > 0 then move_up(size) end
  if size == 0 or redis.call('llen', name .. ':items') < size then
    redis.call('rpush', name .. ':items', item)
    redis.call('hincrby', name, 'unfinished', 1)
    refer(item, 1)
    done = 1
  elseif ticket ~= '' then
    redis.call('rpush', name .. ':pending', ticket)
    redis.call('hset', name .. ':held', ticket, item)
    refer(item, 1)
  end
  keep('', ':items', ':refs', ':pending', ':held')
  return done
"""
)

# arg: ticket, size, '1' to withdraw the pending item.
# Returns 1 if the item is in the queue now, 0 if it is pending, or was until now.
_LOOK = Script(
    _MOVE_UP
    + """
  local ticket, size, give_up = arg[1], tonumber(arg[2]), arg[3] == '1'
  move_up(size)
  local item = redis.call('hget', name .. ':held', ticket)
  if not item then return 1 end
  if give_up then
    redis.call('lrem', name .. ':pending', 1, ticket)
    redis.call('hdel', name .. ':held', ticket)
    refer(item, -1)
  end
  keep('', ':items', ':refs', ':pending', ':held')
  return 0
"""
)

# arg: size, ticket ('' = do not wait), the hand. Returns the item, or false. An item behind this
# ticket in the hand was moved there by BLMOVE.
_TAKE = Script(
    _MOVE_UP
    + """
  local size, ticket, hand = tonumber(arg[1]), arg[2], arg[3]
  local item = false
  if ticket ~= '' and redis.call('lindex', hand, 0) == ticket then
    item = redis.call('lindex', hand, 1)
  end
  if not item then
    if size > 0 then move_up(size) end
    item = redis.call('lpop', name .. ':items')
  end
  if item then
    refer(item, -1)
    redis.call('del', hand)
  elseif ticket ~= '' then
    redis.call('del', hand)
    redis.call('rpush', hand, ticket)
    redis.call('pexpire', hand, __HAND_MS__)
  end
  if size > 0 then move_up(size) end
  keep('', ':items', ':refs', ':pending', ':held')
  return item
""".replace("__HAND_MS__", str(_HAND_MS))
)

# arg: the hand, the ticket. Returns an interrupted getter's item to the front of the queue.
_PUT_BACK = Script(
    """
  local item = redis.call('lindex', arg[1], 1)
  if item and redis.call('lindex', arg[1], 0) == arg[2] then
    redis.call('lpush', name .. ':items', item)
  end
  redis.call('del', arg[1])
  keep(':items')
  return 1
"""
)

_SIZE = Script("return redis.call('llen', name .. ':items')", reads=True)

# Returns 1 if an item was marked as done, 0 if no item was unfinished.
_TASK_DONE = Script(
    """
  local left = tonumber(redis.call('hget', name, 'unfinished') or 0)
  if left <= 0 then return 0 end
  redis.call('hset', name, 'unfinished', left - 1)
  if left == 1 then
    for _, ticket in ipairs(redis.call('lrange', name .. ':line', 0, -1)) do ring(ticket, 1) end
    redis.call('del', name .. ':line')
  end
  keep('')
  return 1
"""
)

# arg: ticket. Returns 1 if no item is unfinished, 0 if the caller has to wait for its bell.
_JOIN = Script(
    """
  if tonumber(redis.call('hget', name, 'unfinished') or 0) <= 0 then return 1 end
  if not redis.call('lpos', name .. ':line', arg[1]) then
    redis.call('rpush', name .. ':line', arg[1])
  end
  keep('', ':line')
  return 0
"""
)


class _Items(Handle):
    """Putting and getting items, common to all queues."""

    _size = 0

    def _put(self, obj: Any, deadline: float | None, *, block: bool) -> bool:
        item = items.encode(obj, "the item")
        the_ticket = ticket() if block and self._size else ""
        if _PUT(self._name, item, self._size, the_ticket):
            return True
        if not the_ticket:
            return False
        try:
            while True:
                heard = hear(the_ticket, deadline)
                late = deadline is not None and time.monotonic() >= deadline
                if heard or _LOOK(self._name, the_ticket, self._size, "1" if late else "0"):
                    return True
                if late:
                    return False
        except BaseException:
            # Interrupted: withdraw the item, unless it has moved into the queue.
            with suppress(DaySixError):
                _LOOK(self._name, the_ticket, self._size, "1")
            raise

    def _get(self, deadline: float | None, *, wait: bool) -> bytes | None:
        the_ticket = ticket() if wait else ""
        hand = f"hand:{me()}:{self._name}"
        item: bytes | None = _TAKE(self._name, self._size, the_ticket, hand)
        if item is not None or not wait:
            return item
        try:
            while True:
                moved = block(
                    ["BLMOVE", f"{self._name}:items", hand, "LEFT", "RIGHT"],
                    deadline,
                    look_again_s=_BLOCK_S,
                )
                if moved is not None and not self._size and moved[:1] == b"\0":
                    return bytes(moved)  # no putter waits for room, and the item holds no handle
                item = _TAKE(self._name, self._size, the_ticket, hand)
                if item is not None:
                    return item
                if deadline is not None and time.monotonic() >= deadline:
                    return None
        except BaseException:
            with suppress(DaySixError):
                _PUT_BACK(self._name, hand, the_ticket)
            raise

    def _length(self) -> int:
        return int(_SIZE(self._name))


class Queue(_Items):
    """``multiprocessing.Queue``: first in, first out, with at most `maxsize` items (0: no limit).

    Any process with the queue may put and get. Redis wakes waiting getters in the order in which
    they came. Timeouts are in seconds; None waits for ever, and a negative timeout counts as 0.
    Every method raises ValueError after `close`, and `BrokerUnavailable` if Redis does not answer.
    """

    _kind = "queue"

    def __init__(self, maxsize: int = 0) -> None:
        self._open(None, max(0, int(maxsize)))

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        super()._open(name)
        (self._size,) = parameters
        self._closed = False

    def _parameters(self) -> list[Any]:
        return [self._size]

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an item. Waits while the queue is full, at most `timeout` seconds.

        Raises `queue.Full` after that time, or at once with ``block=False``; `NotPortable` for an
        item that cannot be sent.
        """
        self._check_open()
        if not self._put(obj, _deadline(timeout), block=block):
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the first item. Waits for one, at most `timeout` seconds.

        Raises `queue.Empty` after that time, or at once with ``block=False``.
        """
        self._check_open()
        item = self._get(_deadline(timeout), wait=block)
        if item is None:
            raise Empty
        return items.decode(item)

    def put_nowait(self, obj: Any) -> None:
        """Append an item. Raises `queue.Full` at once if the queue is full."""
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """Remove and return the first item. Raises `queue.Empty` at once if there is none."""
        return self.get(False)

    def qsize(self) -> int:
        """The number of items in the queue."""
        return self._length()

    def empty(self) -> bool:
        """Whether it has no item."""
        return self._length() == 0

    def full(self) -> bool:
        """True if the queue holds `maxsize` items."""
        return bool(self._size) and self._length() >= self._size

    def close(self) -> None:
        """Close this object. Items stay in the queue, and other processes may use it."""
        self._closed = True

    def join_thread(self) -> None:
        """Returns at once, because `put` stores items itself.

        Raises AssertionError before `close`.
        """
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")

    def cancel_join_thread(self) -> None:
        """Does nothing, because `put` stores items itself."""

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")


class JoinableQueue(Queue):
    """``multiprocessing.JoinableQueue``: a queue that counts its unfinished items."""

    _kind = "joinablequeue"

    def task_done(self) -> None:
        """Mark one item as done. Raises ValueError if called more often than items were put."""
        if not _TASK_DONE(self._name):
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until `task_done` was called for every item."""
        the_ticket = ticket()
        while not _JOIN(self._name, the_ticket):
            if hear(the_ticket, None):
                return


class SimpleQueue(_Items):
    """``multiprocessing.SimpleQueue``: a queue without a limit and without timeouts.

    Its methods raise OSError after `close`.
    """

    __class_getitem__: Any = classmethod(types.GenericAlias)

    _kind = "simplequeue"

    def __init__(self) -> None:
        self._open(None)

    def _open(self, name: str | None = None, *parameters: Any) -> None:
        super()._open(name)
        self._closed = False

    def get(self) -> Any:
        """Remove and return the first item. Waits for one."""
        self._check_open()
        return items.decode(self._get(None, wait=True) or b"\0")

    def put(self, obj: Any) -> None:
        """Append an item. Raises `NotPortable` if the item cannot be sent."""
        self._check_open()
        self._put(obj, None, block=True)

    def empty(self) -> bool:
        """Whether it has no item."""
        self._check_open()
        return self._length() == 0

    def close(self) -> None:
        """Close this object. Items stay in the queue, and other processes may use it."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("handle is closed")


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout

"""Records which messages this worker has taken, and holds them under a lease.

Redis holds, beside kombu's own lists:

    owners              sorted set: owner → when its lease ends, by Redis' clock
    owners:names        set: the same owners; a renewal does not change this set, so the workers
                        that track it are not woken
    taken:<owner>       hash: number → the message's list and the unchanged message
    buried              set: owners whose lease has ended and whose messages are to be returned

A worker process is an owner while its lease is renewed. A thread of the worker renews the lease.
While a task holds the GIL, `shared.broker.renewing` does so instead. When a lease ends, other
workers return the owner's messages to the front of their lists. An owner that was paused for too
long finds itself buried and becomes a new owner. Its acknowledgements under the old name count
only for messages that have not been returned yet.
"""

import atexit
import contextlib
import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import redis
from kombu.log import get_logger

from shared.broker import renewing
from shared.broker.connections import Absence, Lua, ask, connect
from shared.broker.keys import BURIED, OWNER_NAMES, OWNERS, RENEWED_AT, TAKEN, new_word
from shared.broker.messages import parse_tag
from shared.broker.per_process import PerProcess
from shared.broker.recovery import (
    by_key,
    give_all_back,
    give_back,
    is_about_the_data,
    return_all,
)
from shared.endings import Background
from shared.settings import current

logger = get_logger(__name__)

_RENEWALS_PER_LEASE = 4
# A renewal also shows the renewer that the threads of this process still run.
_RENEWALS_AT_LEAST_EVERY_S = 2.5
_AT_ONCE = 1_000
# An acknowledgement waits this long for others. After a kill, tasks that finished within this time
# run again.
_GATHER_S = 0.001
# How many messages one channel can number. Lua's integers hold millions of such ranges.
_RANGE = 10**9

# The take. KEYS: owners' names, this owner's taken hash, then the lists in order. ARGV: owner, the
# number for the first message, how many to take, the largest size, 1 if the answer to the last take
# was lost, then the numbers to acknowledge. The acknowledgements count in any case.
# Returns -1 if the owner's lease has ended. Otherwise returns [number, entry] for each message, and
# [number, list, size] without the text for a message that is too large. If the last answer was
# lost, the take first returns the messages recorded under the same numbers. A take that finds
# fewer messages than it asked for reads every list once more, empty, so that Redis reports the
# next change of any of them to this connection. Last come the keys that hold no list: they do not
# stop the others. Messages of one list are recorded before the next list is read, because any
# other error ends the script.
TAKE = Lua("""
if #ARGV > 5 then
    redis.call('hdel', KEYS[2], unpack(ARGV, 6))
end
if redis.call('sismember', KEYS[1], ARGV[1]) == 0 then
    return -1
end
local number, left, largest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found, read, no_lists = {}, {}, {}
local function show(entry)
    if #entry > largest then
        local list = string.match(entry, '^[^\\n]*')
        table.insert(found, {number, list, #entry})
    else
        table.insert(found, {number, entry})
    end
    number = number + 1
    left = left - 1
end
local before = ARGV[5] == '1' and redis.call('hget', KEYS[2], number)
while before do
    show(before)
    before = redis.call('hget', KEYS[2], number)
end
for index = 3, #KEYS do
    local length = left > 0 and redis.pcall('llen', KEYS[index]) or 0
    if type(length) == 'table' then
        if not string.find(length.err, 'WRONGTYPE') then
            return length
        end
        table.insert(no_lists, KEYS[index])
    elseif length > 0 then
        local taken = {}
        for _, message in ipairs(redis.call('rpop', KEYS[index], left)) do
            local entry = KEYS[index] .. '\\n' .. message
            table.insert(taken, number)
            table.insert(taken, entry)
            show(entry)
        end
        redis.call('hset', KEYS[2], unpack(taken))
        table.insert(read, KEYS[index])
    end
end
if left > 0 then
    for _, list in ipairs(read) do
        redis.call('llen', list)
    end
end
for _, key in ipairs(no_lists) do
    table.insert(found, key)
end
return found
""")

# KEYS: owners, buried, the time of the last renewal by any owner, owners' names. ARGV: owner, lease
# in ms, 1 to become a new owner. Returns whether the owner still holds its lease, and the buried
# owners. If no owner has renewed for half a lease, Redis was unavailable or its clock has jumped.
# Then every owner gets a new lease.
RENEW = Lua("""
local time = redis.call('time')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease = tonumber(ARGV[2])
local before = tonumber(redis.call('get', KEYS[3]) or now) or now
redis.call('set', KEYS[3], now)
if ARGV[3] == '1' or redis.call('zscore', KEYS[1], ARGV[1]) then
    redis.call('zadd', KEYS[1], now + lease, ARGV[1])
    if ARGV[3] == '1' then
        redis.call('sadd', KEYS[4], ARGV[1])
    end
end
if math.abs(now - before) > lease / 2 then
    for _, owner in ipairs(redis.call('zrange', KEYS[1], 0, -1)) do
        redis.call('zadd', KEYS[1], now + lease, owner)
    end
else
    for _, owner in ipairs(redis.call('zrangebyscore', KEYS[1], '-inf', now)) do
        redis.call('zrem', KEYS[1], owner)
        redis.call('srem', KEYS[4], owner)
        redis.call('sadd', KEYS[2], owner)
    end
end
local is_owner = redis.call('zscore', KEYS[1], ARGV[1]) and 1 or 0
return {is_owner, redis.call('smembers', KEYS[2])}
""")

_KEYS = (OWNERS, BURIED, RENEWED_AT, OWNER_NAMES)


class Owner:
    """This process as a holder of taken messages. All methods are safe from any thread."""

    def __init__(self) -> None:
        settings = current()
        self.lease_s = settings.worker_lease_s
        self.hostname = node_name or socket.gethostname()
        self.name = ""
        self._ranges = itertools.count()
        self._left: deque[tuple[str, int]] = deque()
        # Stays false in a program that uses kombu without a Celery worker.
        self.is_worker = False
        # Whether it ends by an error of its own.
        self.fails: Callable[[], bool] = lambda: False
        self._settings = settings
        self._renewing = threading.Lock()
        self._settled: deque[str] = deque()
        self._answering: set[str] = set()
        self._actions: deque[Callable[[redis.Redis], Any]] = deque()
        self._flushing = threading.Lock()
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._settler = connect(settings)
        self._become_another(self._settler)
        self._threads = [
            Background(self._renew_forever, "lease", end=self._end_threads),
            Background(self._settle_forever, "settle", end=self._end_threads),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def key(self) -> str:
        """The key of the hash that records this owner's messages."""
        return TAKEN + self.name

    def lost(self, name: str) -> None:
        """Become a new owner after the lease of `name` was lost; at most once for each name."""
        with self._renewing:
            if name != self.name or self._stopped.is_set():
                return
            self._become_another(self._settler)
        logger.warning(
            "the lease of %s ended before it was renewed: what was taken under it went back to "
            "its queues, and no outcome of it counts any more",
            name,
        )

    def first_number(self, name: str) -> int:
        """The number for the first message that a channel takes under this owner name.

        Each channel gets its own range, because several may take at once. A channel that replaces
        a closed one continues its numbers, to find messages whose reply the old one never
        received.
        """
        with contextlib.suppress(IndexError):
            while True:
                left_under, number = self._left.pop()
                if left_under == name:
                    return number
        return next(self._ranges) * _RANGE

    def leave_number(self, name: str, number: int) -> None:
        """Let a later channel continue at this number, because this channel is closed."""
        self._left.append((name, number))

    def holds(self, delivery_tag: str) -> bool:
        """True if a message was taken under the present lease, or by another transport."""
        return delivery_tag.startswith(f"{self.key}#") or parse_tag(delivery_tag) is None

    def settle(self, delivery_tag: str) -> None:
        """Acknowledge a message; a background thread flushes acknowledgements in batches.

        A message marked by `leave_to_answer` is acknowledged together with its answer instead.
        """
        if delivery_tag in self._answering:
            self._answering.discard(delivery_tag)
            return
        self._settled.append(delivery_tag)
        if not self._news.is_set():
            self._news.set()

    def leave_to_answer(self, delivery_tag: str) -> None:
        """Make the next `settle` of a message do nothing: its answer will acknowledge it."""
        self._answering.add(delivery_tag)

    def settle_along(self, name: str) -> list[str]:
        """Remove and return the acknowledgements that the next take under `name` can carry.

        If Redis does not answer that take, pass them to `settle_again`.
        """
        settling: list[str] = []
        key = f"{TAKEN}{name}#"
        with contextlib.suppress(IndexError):
            while len(settling) < _AT_ONCE:
                delivery_tag = self._settled.popleft()
                if not delivery_tag.startswith(key):
                    self._settled.appendleft(delivery_tag)
                    break
                settling.append(delivery_tag)
        return settling

    def settle_again(self, delivery_tags: list[str]) -> None:
        """Queue these acknowledgements again: the reply to the previous attempt was lost."""
        self._settled.extendleft(reversed(delivery_tags))
        self._news.set()

    def act(self, action: Callable[[redis.Redis], Any]) -> None:
        """Run an action on Redis soon, in a background thread, and retry until Redis answers."""
        self._actions.append(action)
        self._news.set()

    def give_back(
        self, delivery_tags: Iterable[str], then: Callable[[], None] = lambda: None
    ) -> None:
        """Return messages to the front of their lists without counting a failed delivery.

        A background thread does so, and then calls `then`.
        """
        tags = list(delivery_tags)

        def act(client: redis.Redis) -> None:
            try:
                give_back(client, tags)
            except redis.RedisError:
                raise  # the action is retried
            except Exception:
                then()
                raise
            then()

        if tags:
            self.act(act)

    def flush(self) -> None:
        """Send all acknowledgements and actions to Redis now. Raises `redis.RedisError`."""
        with self._flushing:
            while self._settled:
                self._flush_settled()
            while self._actions:
                try:
                    self._actions[0](self._settler)
                except Exception as error:
                    if isinstance(error, redis.RedisError) and not is_about_the_data(error):
                        raise
                    # This action would fail every time, and block the actions behind it.
                    logger.exception("a message stays with %s until it ends", self.name)
                self._actions.popleft()

    def _flush_settled(self) -> None:
        settling: list[str] = []
        with contextlib.suppress(IndexError):
            while len(settling) < _AT_ONCE:
                settling.append(self._settled.popleft())
        try:
            for key, numbers in by_key(settling).items():
                ask(self._settler, "HDEL", key, *numbers)
        except BaseException:
            self._settled.extendleft(reversed(settling))
            raise

    def retire(self, *, failed: bool = False) -> None:
        """Give up the ownership: flush acknowledgements and return all other messages.

        Set `failed` if the worker ends by its own error. One of its messages may be the cause, so
        each of them counts one failed delivery, as after a kill.
        """
        for thread in self._threads:
            thread.end()
        try:
            self.flush()
            if failed:
                return_all(self._settler, self.name)
            else:
                give_all_back(self._settler, self.name)
            self._settler.srem(OWNER_NAMES, self.name)
            self._settler.zrem(OWNERS, self.name)
        except redis.RedisError as error:
            logger.warning("what %s holds comes back when its lease ends: %s", self.name, error)

    def _end_threads(self) -> None:
        with self._renewing:
            self._stopped.set()
        self._news.set()

    def _become_another(self, client: redis.Redis) -> None:
        name = f"{self.hostname}:{new_word()[:12]}"
        _renew(client, name, self.lease_s, become=True)
        renewing.owners.drop(self.name)
        self.name = name
        renewing.owners.every(
            self.lease_s / _RENEWALS_PER_LEASE, "EVAL", RENEW.text, len(_KEYS), *_KEYS
        )
        self._tell_the_renewer()

    def _tell_the_renewer(self) -> None:
        renewing.owners.keep(self.name, self.name, int(self.lease_s * 1000), 0)

    def _renew_forever(self) -> None:
        client = connect(self._settings, answer_within_s=self.lease_s / 4)
        every_s = min(self.lease_s / _RENEWALS_PER_LEASE, _RENEWALS_AT_LEAST_EVERY_S)
        while not self._stopped.wait(every_s):
            with self._renewing:
                name = self.name
            try:
                still, buried = _renew(client, name, self.lease_s)
                renewing.look_after()
                if not still:
                    self.lost(name)
                with self._renewing:
                    self._tell_the_renewer()
                for owner in buried:
                    # Flower has an owner too, but may not write to a queue. Workers return these.
                    with contextlib.suppress(redis.exceptions.NoPermissionError):
                        return_all(client, owner)
            except redis.RedisError as error:
                logger.warning("the lease of %s is not renewed: %s", name, error)
            except Exception:
                # Keep renewing the lease, whatever error one message causes.
                logger.exception("returning the messages of a lost worker failed")

    def _settle_forever(self) -> None:
        absence = Absence("the acknowledging thread", sleep=self._stopped.wait)
        while not self._stopped.is_set():
            self._news.wait()
            time.sleep(_GATHER_S)
            self._news.clear()
            try:
                self.flush()
                absence.end()
            except Exception as error:
                if not isinstance(error, redis.RedisError):
                    # This thread must go on: no other thread sends acknowledgements.
                    logger.exception("%d acknowledgements wait", len(self._settled))
                absence.wait(error)
                self._news.set()


def _renew(
    client: redis.Redis, name: str, lease_s: float, *, become: bool = False
) -> tuple[bool, list[bytes]]:
    answer: Any = RENEW.call(client, len(_KEYS), *_KEYS, name, int(lease_s * 1000), int(become))
    return bool(answer[0]), list(answer[1])


# Celery's name of this worker. It is set before the first take.
node_name = ""

# The owner that this process is, from its first take on.
owner = PerProcess(Owner)
# The same, if it ever took anything.
existing = owner.existing


@atexit.register
def _retire_at_exit() -> None:
    """Acknowledge what is acknowledged, and return the rest. A worker does that by itself."""
    retiring = existing()
    if retiring is not None and not retiring.is_worker:
        retiring.retire()

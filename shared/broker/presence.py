"""The living workers. Each worker renews an entry in Redis while its consumer is alive.

One hash, ``workers``: random id of the worker process → JSON. The key is not the node name,
because two workers may have the same name. Each entry contains its expiry time by Redis' clock,
so the clocks of the machines need not agree.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kombu.log import get_logger

from shared.broker import renewing
from shared.broker.connections import Lua, foreseen, store
from shared.broker.keys import WORKERS, new_word
from shared.pools import PoolKind
from shared.settings import current

logger = get_logger(__name__)

LEASE_S = 10.0
# The limit for every count in an entry.
_MOST = 10**9

# The random id of this process. Forked pool processes share their worker's id.
PROCESS = new_word()[:16]

# KEYS[1]: the hash. ARGV: the process, its entry without `until`, the lease in seconds. Removes
# entries that expired long ago.
_RENEW = Lua("""
local now = tonumber(redis.call('time')[1])
local line = cjson.decode(ARGV[2])
line['until'] = now + tonumber(ARGV[3])
if redis.call('hset', KEYS[1], ARGV[1], cjson.encode(line)) == 1 then
    local lines = redis.call('hgetall', KEYS[1])
    for i = 1, #lines, 2 do
        local read, other = pcall(cjson.decode, lines[i + 1])
        local ends = read and type(other) == 'table' and tonumber(other['until']) or 0
        if ends + tonumber(ARGV[3]) < now then redis.call('hdel', KEYS[1], lines[i]) end
    end
end
""")

# KEYS[1]: the hash. ARGV: the process, the lease in seconds. Does not restore a removed entry.
_EXTEND = Lua("""
local line = redis.call('hget', KEYS[1], ARGV[1])
if line then
    local ends = redis.call('time')[1] + ARGV[2]
    line = string.gsub(line, '"until":[%d.e+]+', string.format('"until":%d', ends))
    redis.call('hset', KEYS[1], ARGV[1], line)
end
""")


@dataclass(frozen=True)
class Worker:
    """A worker as it described itself a few seconds ago."""

    name: str
    pool: str
    concurrency: int
    pid: int
    running: int
    startup_s: float | None = None  # from process start to consuming
    process: str = ""
    queues: tuple[str, ...] = ()  # the queues that this worker consumes
    running_by_queue: dict[str, int] = field(default_factory=dict)

    def running_from(self, queue: str) -> int:
        """Return the number of tasks from a queue that this worker runs."""
        return self.running_by_queue.get(queue, 0) if self.process else self.running


def renew(client: Any, worker: Worker) -> None:
    """Renew the entry of this process's worker, and keep it renewed while tasks hold the GIL."""
    line = json.dumps(asdict(worker))
    _RENEW.call(client, 1, WORKERS, worker.process, line, LEASE_S)
    renewing.presence.every(LEASE_S / 4, "EVAL", _EXTEND.text, 1, WORKERS)
    renewing.presence.keep(worker.process, worker.process, LEASE_S)


def rest() -> None:
    """Stop the renewal; the entry expires with its lease."""
    renewing.presence.drop(PROCESS)


def take_back(client: Any) -> None:
    """Stop the renewal, and remove the entry."""
    rest()
    client.hdel(WORKERS, PROCESS)


def workers() -> list[Worker]:
    """Return the living workers, sorted by name."""
    with foreseen():
        pipe = store().pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(WORKERS)
        (now, _), lines = pipe.execute()
    return sorted(_alive(now, lines), key=lambda worker: (worker.name, worker.process))


def consuming(queue: str) -> list[Worker]:
    """Return the living workers that consume a queue."""
    return [worker for worker in workers() if queue in worker.queues]


def capacity(kind: PoolKind) -> int:
    """Return the total concurrency of a pool kind; one worker's setting if none is alive."""
    seen = sum(worker.concurrency for worker in consuming(kind.value))
    return seen or current().concurrency(kind)


def _alive(now: int, lines: dict[bytes, bytes]) -> Iterable[Worker]:
    known = {one.name for one in fields(Worker)}
    for process, text in lines.items():
        try:
            line = json.loads(text)
            if line.pop("until") < now:
                continue
            found = {name: value for name, value in line.items() if name in known}
            # A worker of an older version writes no queues. That worker consumes its pool's queue.
            found["queues"] = tuple(line.get("queues", (line["pool"],)))
            worker = Worker(**found)
            _check(worker)
            yield worker
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            logger.debug("ignored the invalid entry of worker process %r: %r", process, error)


def _check(worker: Worker) -> None:
    """Raise TypeError for an entry that no worker wrote, because readers compute with its numbers."""
    texts = [worker.name, worker.pool, worker.process, *worker.queues, *worker.running_by_queue]
    numbers = [worker.concurrency, worker.pid, worker.running, *worker.running_by_queue.values()]
    times = [worker.startup_s or 0]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is not a string")
    if not all(type(number) is int and 0 <= number < _MOST for number in numbers):
        raise TypeError("a count is not a valid number")
    if not all(type(time) in (int, float) and 0 <= time < _MOST for time in times):
        raise TypeError("a time is not a valid number")

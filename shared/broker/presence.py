"""Which workers are there: each renews a line in Redis while its consumer is alive.

One hash, ``workers``: a word for the worker's process → JSON. Node names do not tell processes
apart: two workers may have one name. A line is good until the time that it names, by Redis' own
clock, so that machines need not agree on the time.
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
# No worker has a larger number.
_MOST = 10**9

# The word for this process; a pool's processes, which are forked, have their worker's.
PROCESS = new_word()[:16]

# KEYS[1]: the hash. ARGV: the process, its line without `until`, the lease in seconds. Lines of
# processes that are long gone are removed.
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

# KEYS[1]: the hash. ARGV: the process, the lease in seconds. A line that was taken back stays so.
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
    startup_s: float | None = None  # from its process's beginning until it took tasks
    process: str = ""
    queues: tuple[str, ...] = ()  # that it consumes
    running_by_queue: dict[str, int] = field(default_factory=dict)

    def running_from(self, queue: str) -> int:
        """How many tasks of a queue it runs."""
        return self.running_by_queue.get(queue, 0) if self.process else self.running


def renew(client: Any, worker: Worker) -> None:
    """Say once more that this process's worker is there, also while its tasks hold the GIL."""
    line = json.dumps(asdict(worker))
    _RENEW.call(client, 1, WORKERS, worker.process, line, LEASE_S)
    renewing.presence.every(LEASE_S / 4, "EVAL", _EXTEND.text, 1, WORKERS)
    renewing.presence.keep(worker.process, worker.process, LEASE_S)


def rest() -> None:
    """Say no more that it is there; its line ends with its lease."""
    renewing.presence.drop(PROCESS)


def take_back(client: Any) -> None:
    """Say that it is there no more."""
    rest()
    client.hdel(WORKERS, PROCESS)


def workers() -> list[Worker]:
    """The workers that are alive, by name."""
    with foreseen():
        pipe = store().pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(WORKERS)
        (now, _), lines = pipe.execute()
    return sorted(_alive(now, lines), key=lambda worker: (worker.name, worker.process))


def consuming(queue: str) -> list[Worker]:
    """The workers that are alive and take from a queue."""
    return [worker for worker in workers() if queue in worker.queues]


def capacity(kind: PoolKind) -> int:
    """How many tasks of a kind's queue run at once; where no worker is seen, one worker's size."""
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
            # A worker of an older version says neither: it consumes its pool's queue.
            found["queues"] = tuple(line.get("queues", (line["pool"],)))
            worker = Worker(**found)
            _check(worker)
            yield worker
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            logger.debug("no line of a worker: %r: %r", process, error)


def _check(worker: Worker) -> None:
    """Raise TypeError for a line that no worker wrote; what reads it counts with its numbers."""
    texts = [worker.name, worker.pool, worker.process, *worker.queues, *worker.running_by_queue]
    numbers = [worker.concurrency, worker.pid, worker.running, *worker.running_by_queue.values()]
    times = [worker.startup_s or 0]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is no text")
    if not all(type(number) is int and 0 <= number < _MOST for number in numbers):
        raise TypeError("a count is none")
    if not all(type(time) in (int, float) and 0 <= time < _MOST for time in times):
        raise TypeError("a time is none")

"""Which workers are there: each renews a line in Redis while its consumer is alive.

One hash, ``workers``: node name → JSON. A line is good until the time it names, by Redis' own
clock, so that machines need not agree on the time.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from shared.broker.connections import foreseen, store
from shared.broker.keys import WORKERS
from shared.pools import PoolKind
from shared.settings import current

LEASE_S = 10.0

# KEYS[1]: the hash. ARGV: node name, its line without `until`, the lease in seconds.
RENEW = """
local now = tonumber(redis.call('time')[1])
local line = cjson.decode(ARGV[2])
line['until'] = now + tonumber(ARGV[3])
redis.call('hset', KEYS[1], ARGV[1], cjson.encode(line))
"""


@dataclass(frozen=True)
class Worker:
    """A worker as it described itself a few seconds ago."""

    name: str
    pool: str
    concurrency: int
    pid: int
    running: int
    startup_s: float | None = None  # from its process's beginning until it took tasks


def describe(worker: Worker) -> list[Any]:
    """The arguments of `RENEW` for a worker."""
    return [worker.name, json.dumps(asdict(worker)), LEASE_S]


def workers() -> list[Worker]:
    """The workers that are alive, by name."""
    with foreseen():
        pipe = store().pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(WORKERS)
        (now, _), lines = pipe.execute()
    alive = []
    for line in map(json.loads, lines.values()):
        if line.pop("until") >= now:
            alive.append(Worker(**line))
    return sorted(alive, key=lambda worker: worker.name)


def capacity(kind: PoolKind) -> int:
    """How many tasks the workers of a kind run at once; where none is seen, one worker's size."""
    seen = sum(worker.concurrency for worker in workers() if worker.pool == kind.value)
    return seen or current().concurrency(kind)

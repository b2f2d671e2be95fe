"""What the service is doing: per pool workers, concurrency, running, queued, done, failed."""

from dataclasses import dataclass
from typing import Any

from kombu.transport.redis import Channel

from shared.broker import keys, presence
from shared.broker.connections import foreseen, store
from shared.pools import PoolKind


@dataclass(frozen=True)
class PoolStatus:
    """One pool's queue at this moment; a worker that takes from several counts for each."""

    pool: str
    workers: int
    concurrency: int
    running: int
    queued: int
    done: int
    failed: int
    dead: int


def read() -> list[PoolStatus]:
    """The state of each pool; `BrokerUnavailable` when Redis does not answer."""
    workers = presence.workers()
    with foreseen():
        pipe = store().pipeline(transaction=False)
        pipe.hgetall(keys.COUNTS)
        pipe.hgetall(keys.DEAD_QUEUES)
        for kind in PoolKind:
            for key in queue_keys(kind.value):
                pipe.llen(key)
        counts, letters, *lengths = pipe.execute()
    numbers = {key.decode(): int(value) for key, value in counts.items()}
    per_queue = len(Channel.priority_steps)
    states = []
    for index, kind in enumerate(PoolKind):
        mine = [worker for worker in workers if kind.value in worker.queues]
        states.append(
            PoolStatus(
                pool=kind.value,
                workers=len(mine),
                concurrency=sum(worker.concurrency for worker in mine),
                running=sum(worker.running_from(kind.value) for worker in mine),
                queued=sum(lengths[index * per_queue : (index + 1) * per_queue]),
                done=numbers.get(f"{kind.value}:done", 0),
                failed=numbers.get(f"{kind.value}:failed", 0),
                dead=int(letters.get(kind.value.encode(), 0)),
            )
        )
    return states


def queue_keys(queue: str) -> list[str]:
    """The lists of a queue: kombu keeps one for each step of priority."""
    return [f"{queue}{Channel.sep}{step}" if step else queue for step in Channel.priority_steps]


def table(states: list[PoolStatus]) -> Any:
    """The states as a table for a terminal."""
    from rich.table import Table

    shown = Table()
    for title in PoolStatus.__dataclass_fields__:
        shown.add_column(title, justify="left" if title == "pool" else "right")
    for state in states:
        name, *numbers = (getattr(state, title) for title in PoolStatus.__dataclass_fields__)
        shown.add_row(name, *(f"{number:,}" for number in numbers))
    return shown

"""The service's state: for each pool workers, concurrency, running, queued, done, failed."""

from dataclasses import dataclass
from typing import Any

import redis
from kombu.transport.redis import Channel

from producer.printing import Sheet, say
from shared.broker import keys, presence
from shared.broker.connections import eviction, foreseen, store
from shared.pools import PoolKind
from shared.settings import current

_DIGITS = 20  # no count has as many


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
    lists = [key for kind in PoolKind for key in queue_keys(kind.value)]
    counts, letters, *lengths = ask(
        ("hgetall", keys.COUNTS), ("hgetall", keys.DEAD_QUEUES), *(("llen", key) for key in lists)
    )
    lengths = [number(length) for length in lengths]
    numbers = {key.decode(errors="replace"): number(value) for key, value in (counts or {}).items()}
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
                dead=number((letters or {}).get(kind.value.encode())),
            )
        )
    return states


def warn() -> None:
    """Say so where Redis may throw messages away."""
    with foreseen():
        if line := eviction(current(), store()):
            say(line)


def ask(*commands: tuple[Any, ...]) -> list[Any]:
    """Redis' answers to commands; None, and a line, for a key of another type."""
    with foreseen():
        pipe = store().pipeline(transaction=False)
        for name, *words in commands:
            getattr(pipe, name)(*words)
        answers: list[Any] = pipe.execute(raise_on_error=False)
        for index, answer in enumerate(answers):
            if isinstance(answer, redis.ResponseError) and "WRONGTYPE" in str(answer):
                say(f"left out {commands[index][1]!r}: in Redis it is of another type")
                answers[index] = None
            elif isinstance(answer, Exception):
                raise answer
    return answers


def number(value: Any) -> int:
    """A count as Redis holds it; 0 for anything else."""
    try:
        return int(value) if len(str(value)) < _DIGITS else 0
    except (TypeError, ValueError):
        return 0


def queue_keys(queue: str) -> list[str]:
    """The lists of a queue: kombu keeps one for each step of priority."""
    return [f"{queue}{Channel.sep}{step}" if step else queue for step in Channel.priority_steps]


def table(states: list[PoolStatus]) -> Any:
    """The states as a table for a terminal."""
    titles = tuple(PoolStatus.__dataclass_fields__)
    rows = []
    for state in states:
        name, *numbers = (getattr(state, title) for title in titles)
        rows.append((name, *(f"{number:,}" for number in numbers)))
    return Sheet(titles, rows, right=range(1, len(titles)))

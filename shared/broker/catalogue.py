"""Which tasks the living workers have: each worker publishes its own, and renews them.

A string for each worker's process, ``tasks:PROCESS``, holds JSON. It expires by itself some time
after its worker's end; a reader looks only at the processes that `presence` knows to be alive.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shared.broker import keys, presence
from shared.broker.connections import foreseen, store
from shared.tasks import contracts
from shared.tasks.contracts import Contract

LEASE_S = 60


@dataclass
class Catalogue:
    """What the living workers have: tasks and plain functions by name, and who has them."""

    tasks: dict[str, Contract] = field(default_factory=dict)
    functions: dict[str, Contract] = field(default_factory=dict)
    # Task → the queues from which a worker that has this task takes.
    queues: dict[str, set[str]] = field(default_factory=dict)
    # All queues from which a living worker takes.
    consumed: set[str] = field(default_factory=set)


def publish(redis: Any, tasks: list[Contract], functions: list[Contract]) -> None:
    """Say what this process's worker has."""
    text = json.dumps(
        {
            "tasks": list(map(contracts.to_json, tasks)),
            "functions": list(map(contracts.to_json, functions)),
        }
    )
    redis.set(keys.TASKS + presence.PROCESS, text, ex=LEASE_S)


def renew(redis: Any) -> bool:
    """Have it stay for another while; false where it is gone."""
    return bool(redis.expire(keys.TASKS + presence.PROCESS, LEASE_S))


def withdraw(redis: Any) -> None:
    """Say that the worker is gone."""
    redis.delete(keys.TASKS + presence.PROCESS)


def read() -> Catalogue:
    """What the living workers have; an entry that is none is left out."""
    found = Catalogue()
    workers = presence.workers()
    if not workers:
        return found
    with foreseen():
        texts = store().mget([keys.TASKS + worker.process for worker in workers])
    for worker, text in zip(workers, texts, strict=True):
        published = _parse(text)
        found.consumed.update(worker.queues)
        for contract in _contracts(published, "tasks"):
            found.tasks.setdefault(contract.name, contract)
            found.queues.setdefault(contract.name, set()).update(worker.queues)
        for contract in _contracts(published, "functions"):
            found.functions.setdefault(contract.name, contract)
    return found


def _parse(text: Any) -> dict[str, Any]:
    try:
        published = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return published if isinstance(published, dict) else {}


def _items(published: dict[str, Any], name: str) -> list[Any]:
    items = published.get(name)
    return items if isinstance(items, list) else []


def _contracts(published: dict[str, Any], name: str) -> Iterator[Contract]:
    for entry in _items(published, name):
        try:
            contract = contracts.from_json(entry)
        except contracts.ODD:
            continue  # of another version, or not a worker's
        yield contract

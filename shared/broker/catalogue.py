"""The tasks of the living workers. Each worker publishes its own tasks, and renews the entry.

A string for each worker's process, ``tasks:PROCESS``, holds JSON. It expires some time after the
end of the worker. A reader looks only at processes that are alive according to `presence`.
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
    """The tasks and plain functions of the living workers, by name."""

    tasks: dict[str, Contract] = field(default_factory=dict)
    functions: dict[str, Contract] = field(default_factory=dict)
    # Task → the queues of the workers that have this task.
    queues: dict[str, set[str]] = field(default_factory=dict)
    # All queues that a living worker consumes.
    consumed: set[str] = field(default_factory=set)


def publish(redis: Any, tasks: list[Contract], functions: list[Contract]) -> None:
    """Publish the tasks and functions of this process's worker."""
    text = json.dumps(
        {
            "tasks": list(map(contracts.to_json, tasks)),
            "functions": list(map(contracts.to_json, functions)),
        }
    )
    redis.set(keys.TASKS + presence.PROCESS, text, ex=LEASE_S)


def renew(redis: Any) -> bool:
    """Extend the entry's life; False if the entry has expired."""
    return bool(redis.expire(keys.TASKS + presence.PROCESS, LEASE_S))


def withdraw(redis: Any) -> None:
    """Remove the entry of this worker."""
    redis.delete(keys.TASKS + presence.PROCESS)


def read() -> Catalogue:
    """Return the catalogue of the living workers; leaves out invalid entries."""
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
            continue  # written by another version, or not by a worker
        yield contract

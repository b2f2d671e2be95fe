"""Measures how throughput grows with the number of workers, and what limits it.

Workers and Redis share one machine, so its cores can be the limit too. The processor time of each
shows which limit applies.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import psutil

from bench.figures import Results
from bench.measures import Figures, Measure
from bench.sessions import Failed
from bench.tables import NONE, Rows, cell, number

# A resource counts as exhausted from this share on, because full use is never reached.
NEAR = 0.85
# Name other processes as part of the limit if they use more than this many cores.
MUCH = 0.25


@dataclass(frozen=True)
class Load:
    """A task, and the number of tasks for each worker."""

    name: str
    title: str
    task: str
    seconds: float | None
    each: int


LOADS = {
    load.name: load
    for load in (
        Load("nothing", "does nothing", "noop", None, 10_000),
        Load("10ms", "waits 10 ms", "pause", 0.01, 5_000),
        Load("100ms", "waits 100 ms", "pause", 0.1, 600),
    )
}
SIZES = (1, 2, 4, 8)

KINDS = {
    "rate": Measure("rate", "tasks/s", "tasks/s", more_is_better=True),
    "workers": Measure("workers", "workers", "cores"),
    "redis": Measure("redis", "Redis", "cores"),
    "others": Measure("others", "others", "cores"),
    "memory": Measure("memory", "memory of all workers", "MB"),
}


class Place(Protocol):
    """The place where workers run. `bench.places` implements it."""

    def start(self, workers: int) -> None:
        """Start this many workers, and wait until all of them wait for tasks."""

    def fill(self, load: Load, count: int) -> None:
        """Put this many tasks into the empty queue in one call."""

    @property
    def ran(self) -> int:
        """The number of tasks that have run."""

    def wait_until_ran(self, count: int) -> float:
        """Wait until this many tasks have run. Returns that moment."""

    def cpu_s(self) -> tuple[float, float]:
        """Return the seconds of processor time of the workers and of Redis so far."""

    def memory_bytes(self) -> int:
        """Return the memory of the workers."""


def measured(
    place: AbstractContextManager[Place], load: Load, workers: int, share: float
) -> Figures:
    """Start and warm up the workers, fill the queue, and measure until it is drained."""
    first, count = 20 * workers, max(20, int(load.each * workers * share))
    total = first + count
    with place as at:
        at.start(workers)
        # Afterwards every thread of every worker has run a task.
        at.fill(load, first)
        at.wait_until_ran(first)
        at.fill(load, count)
        before, others = at.cpu_s(), _busy_s()
        began, done = time.monotonic(), at.ran
        if done >= total:
            raise Failed(f"all {count:,} tasks ran before the measurement began")
        ended = at.wait_until_ran(total)
        seconds = ended - began
        after, others = at.cpu_s(), _busy_s() - others
        cores = [(now - then) / seconds for now, then in zip(after, before, strict=True)]
        for kind, value in (
            ("rate", (total - done) / seconds),
            ("workers", cores[0]),
            ("redis", cores[1]),
            ("others", max(0.0, others / seconds - sum(cores))),
            ("memory", at.memory_bytes() / 1e6),
        ):
            yield key(kind, load, workers), value


def key(kind: str, load: Load, workers: int) -> str:
    """Return the name of a figure."""
    return f"{kind}_{load.name}_{workers}"


def limit(
    *,
    workers: int,
    times_one: float,
    workers_cores: float,
    redis: float,
    others: float,
    cores: int,
) -> str:
    """Return the limit of the throughput, judged by processor times in cores."""
    if redis >= NEAR:
        return "Redis: its one thread is busy"
    if workers > 1 and times_one >= NEAR * workers:
        return "the number of workers: it grows with them"
    if workers_cores + redis + others >= NEAR * cores:
        theirs = f", {others:.1f} of them taken by others" if others > MUCH else ""
        return f"the machine's {cores} cores{theirs}"
    if workers_cores / workers >= NEAR:
        return "the core that a worker process has"
    return "the number of workers: they wait"


def rows(results: Results, system: str, cores: int) -> Rows:
    """Return a header, and a row for each task and number of workers."""
    table = [
        [
            "each task",
            "workers",
            "tasks/s",
            "times one worker",
            "workers, cores",
            "Redis, cores",
            "others, cores",
            "memory of all workers, MB",
            "the limit",
        ]
    ]
    for load, workers in configurations():
        found = {
            kind: results.of(
                system, Measure(key(kind, load, workers), one.title, one.unit, one.more_is_better)
            )
            for kind, one in KINDS.items()
        }
        values = {kind: one.median for kind, one in found.items() if one}
        if len(values) < len(KINDS):
            continue
        single = results.of(system, Measure(key("rate", load, 1), "", ""))
        times_one = values["rate"] / single.median if single else 0.0
        table.append(
            [
                load.title,
                str(workers),
                cell(found["rate"]),
                number(times_one) if single else NONE,
                *(f"{values[kind]:.2f}" for kind in ("workers", "redis", "others")),
                number(values["memory"]),
                limit(
                    workers=workers,
                    times_one=times_one,
                    workers_cores=values["workers"],
                    redis=values["redis"],
                    others=values["others"],
                    cores=cores,
                ),
            ]
        )
    return table


def configurations() -> Iterator[tuple[Load, int]]:
    """Yield every pair of a task and a number of workers."""
    for load in LOADS.values():
        for workers in SIZES:
            yield load, workers


def _busy_s() -> float:
    """Return the processor time that all processes of the machine have used."""
    times = psutil.cpu_times()._asdict()
    idle = times["idle"] + times.get("iowait", 0.0)
    # The user time already includes the guests' time.
    guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)
    return float(sum(times.values()) - idle - guests)

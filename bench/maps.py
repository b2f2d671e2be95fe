"""Compares a map of empty calls on two processes with the same map in `multiprocessing`."""

import statistics

from bench.measures import Figures, Measure, Scale
from bench.sessions import Session
from bench.systems import System

ITEMS = 20_000
# The variants of the local pool: key, title, chunksize.
WAYS: tuple[tuple[str, str, int | None], ...] = (
    ("one_by_one", "`chunksize=1`", 1),
    ("default", "default chunks", None),
)


def measure(way: str) -> Measure:
    """Return the measure of the local pool's time, divided by ours."""
    return Measure(f"map_{way}", f"map, {way}", "times as long", more_is_better=True)


def maps(system: System, scale: Scale) -> Figures:
    """Yield the local pool's time divided by ours for each variant: the median of some pairs."""
    with Session(system) as session:
        session.start_worker("maps")
        ways = {key: chunksize for key, _, chunksize in WAYS}
        # The first map opens the connections, and waits until the worker is ready.
        session.tell("maps", items=ITEMS, ways=ways)
        found: dict[str, list[float]] = {key: [] for key in ways}
        for _ in range(scale.maps):
            seconds = session.tell("maps", items=ITEMS, ways=ways)
            for key, pairs in found.items():
                pairs.append(seconds[key] / seconds["ours"])
        for key, pairs in found.items():
            yield measure(key).key, statistics.median(pairs)

"""Beside the standard library: a map of calls that do nothing, on two processes here and there."""

import statistics

from bench.measures import Figures, Measure, Scale
from bench.sessions import Session
from bench.systems import System

ITEMS = 20_000
# How the local pool is asked: key, title, chunksize.
WAYS: tuple[tuple[str, str, int | None], ...] = (
    ("one_by_one", "`chunksize=1`", 1),
    ("default", "default chunks", None),
)


def measure(way: str) -> Measure:
    """How long the local pool takes, beside ours."""
    return Measure(f"map_{way}", f"map, {way}", "times as long", more_is_better=True)


def maps(system: System, scale: Scale) -> Figures:
    """How long a local pool takes for a map, in each way, beside ours: the median of some pairs."""
    with Session(system) as session:
        session.start_worker("maps")
        ways = {key: chunksize for key, _, chunksize in WAYS}
        # The first one opens connections, and finds out when the worker is there.
        session.tell("maps", items=ITEMS, ways=ways)
        found: dict[str, list[float]] = {key: [] for key in ways}
        for _ in range(scale.maps):
            seconds = session.tell("maps", items=ITEMS, ways=ways)
            for key, pairs in found.items():
                pairs.append(seconds[key] / seconds["ours"])
        for key, pairs in found.items():
            yield measure(key).key, statistics.median(pairs)

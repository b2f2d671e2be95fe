"""The tutorial's rows, each as it runs locally and on the cluster, side by side."""

import ast
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from shared.errors import DaySixError

LOCAL_TIMEOUT_S = 120


@dataclass(frozen=True)
class Side:
    """One run of a row: how long it took and which processes did it."""

    seconds: float
    pids: int
    problem: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the tutorial."""

    name: str
    shows: str
    local: Callable[[], Side]
    cluster: Callable[[], Side]


@dataclass(frozen=True)
class Report:
    """What became of a row."""

    row: str
    shows: str
    local_s: float
    cluster_s: float
    pids: int
    ok: bool
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run(row: Row) -> Report:
    """Run a row on both sides; a side that fails is reported, not raised."""
    local = _attempt(row.local)
    cluster = _attempt(row.cluster)
    problem = "; ".join(
        f"{name}: {side.problem}"
        for name, side in (("local", local), ("cluster", cluster))
        if side.problem
    )
    return Report(
        row.name,
        row.shows,
        round(local.seconds, 2),
        round(cluster.seconds, 2),
        cluster.pids,
        not problem,
        problem,
    )


def _attempt(side: Callable[[], Side]) -> Side:
    started = time.monotonic()
    try:
        return side()
    except Exception as error:
        text = str(error) if isinstance(error, DaySixError) else f"{type(error).__name__}: {error}"
        return Side(time.monotonic() - started, 0, text)


def pool_locally() -> Side:
    """S2 as the tutorial runs it: the script alone, in a Python of its own."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "examples.s2_pool"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LOCAL_TIMEOUT_S,
        check=True,
    )
    seconds = time.monotonic() - started
    marked = [line for line in done.stdout.splitlines() if line.startswith("进程返回参数:")]
    return _check_pool(
        [ast.literal_eval(line.partition(":")[2].strip()) for line in marked], seconds
    )


def pool_on_the_cluster() -> Side:
    """S2 on the prefork workers."""
    from examples import s2_pool
    from shared import multiprocessing

    pool = multiprocessing.Pool(5)
    started = time.monotonic()
    with pool:
        returned = s2_pool.collect(pool)
    return _check_pool(returned, time.monotonic() - started)


def _check_pool(returned: list[tuple[int, int]], seconds: float) -> Side:
    pids = {pid for _, pid in returned}
    problem = ""
    if [count for count, _ in returned] != list(range(20)):
        problem = f"expected the counts 0 to 19 in order, got {returned!r}"
    elif not all(type(item) is tuple for item in returned):
        problem = f"expected tuples, got {returned[0]!r}"
    elif seconds < 4:
        problem = f"20 tasks of a second, five at once, cannot take {seconds:.1f} s"
    return Side(seconds, len(pids), problem)


ROWS = [
    Row(
        "S2",
        "Pool(5): 20 tasks of 1 s, five at once, each returns a value",
        pool_locally,
        pool_on_the_cluster,
    ),
]

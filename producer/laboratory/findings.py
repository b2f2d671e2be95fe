"""Findings for the reader besides the figures: traps, errors, noise; one sentence each."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from producer.laboratory.comparing import Comparison
from producer.laboratory.executors import Executor
from producer.laboratory.figures import typical_noise
from producer.laboratory.laws import Figures

# A process leaks if it grows by this much for each item, and by that much in total.
_GROWTH_BYTES, _GROWN_BYTES = 64 * 1024, 8 * 1024 * 1024
_LARGE_BYTES = 1024 * 1024
# If half of the runs differ by more than this, other programs disturbed them.
_NOISY = 0.15


def findings(comparison: Comparison, report: Figures) -> list[str]:
    """All findings, one sentence each."""
    found = [
        *_errors(comparison),
        *_large_results(comparison),
        *_growth(comparison),
        *_blocked(report),
        *_overhead(report),
        *_noise(report),
    ]
    if report["releases_gil"]:
        found.append(
            "threads scale although it computes: it spends its time in C code that releases the GIL"
        )
    for cell in report["cells"]:
        if cell["problem"]:
            found.append(f"{cell['executor']} × {cell['concurrency']}: {cell['problem']}")
    return found


def _errors(comparison: Comparison) -> Iterable[str]:
    number = len(comparison.task.items)
    where: dict[tuple[int, str], set[str]] = defaultdict(set)
    lost: dict[str, set[str]] = defaultdict(set)
    for cell in comparison.cells:
        for run in cell.runs:
            for index, sample in enumerate(run["samples"]):
                if "lost" in sample:
                    lost[sample["lost"]].add(cell.executor.value)
                elif sample["error"]:
                    where[index % number, sample["error"]].add(cell.executor.value)
    ran = {cell.executor.value for cell in comparison.cells if cell.runs}
    for (index, error), executors in sorted(where.items())[:3]:
        places = "every executor" if executors == ran else ", ".join(sorted(executors))
        yield f"item {index} raised {error} (in {places}); the others went on"
    if len(where) > 3:
        yield f"{len(where) - 3} more items raised"
    for text, executors in sorted(lost.items())[:3]:
        yield f"an item was lost in {', '.join(sorted(executors))}: {text}"


def _large_results(comparison: Comparison) -> Iterable[str]:
    refusals, size = "", 0
    for cell in comparison.cells:
        for run in cell.runs:
            for sample in run["samples"]:
                if "lost" not in sample:
                    size = max(size, sample["size"])
                    refusals = refusals or sample["refused"]
    if refusals and size:
        yield (f"it returns {size / 1e6:.0f} MB, more than a message may have: {refusals}")
    elif refusals:
        yield f"its result cannot be sent: {refusals}"
    elif size > _LARGE_BYTES:
        yield f"it returns {size / 1e6:.1f} MB an item, which all goes through Redis: return a file's name or a key"


def growth_bytes(comparison: Comparison) -> int:
    """The growth of a process for each item, or 0."""
    rss = [
        sample["rss"][1]
        for cell in comparison.cells
        if cell.executor is Executor.SERIAL
        for run in cell.runs
        for sample in run["samples"]
        if "lost" not in sample
    ]
    if len(rss) < 8:
        return 0
    # The first items fill caches. Only growth in the second half counts.
    half = rss[len(rss) // 2 :]
    each = (half[-1] - half[0]) / (len(half) - 1)
    falls = sum(later < earlier for earlier, later in pairwise(half))
    if each < _GROWTH_BYTES or rss[-1] - rss[0] < _GROWN_BYTES or falls > len(half) / 4:
        return 0
    return int(each)


def _growth(comparison: Comparison) -> Iterable[str]:
    each = growth_bytes(comparison)
    if each:
        yield (
            f"memory grows by {each / 2**20:.2f} MiB an item and is not given back: "
            "have processes replaced, or find what is kept"
        )


def _blocked(report: Figures) -> Iterable[str]:
    """Find a gevent worker that runs one item at a time although it may run many."""
    work = report["work"]
    green = [
        c
        for executor in (Executor.GREENLET, Executor.GEVENT_POOL)
        for c in report["cells"]
        if c["executor"] == executor and c["rates"] and c["concurrency"] >= 2
    ]
    # Local executors show it best, because only the items take time there.
    green = [c for c in green if c["executor"] == green[0]["executor"]]
    if work["cpu_share"] is None or not green or work["item_s"] < 0.001:
        return
    if any(c["overlap"] >= 1.2 for c in green):
        return
    if green[0]["items_a_second"] * work["item_s"] < 0.5:
        return  # the executor was idle most of the time
    if work["cpu_share"] > 0.8:
        yield "gevent gains nothing: it computes, and never gives way to another greenlet"
    elif work["cpu_share"] < 0.5:
        yield (
            f"it blocks the gevent loop: it waits {1 - work['cpu_share']:.0%} of its time, yet one item "
            "ran at a time; it waits in a call that gevent cannot patch (C code, a file, a driver of its own)"
        )


def _overhead(report: Figures) -> Iterable[str]:
    """Find work that takes less time than sending it."""
    costs = [c["overhead_s"] for c in report["cells"] if c["pool"] and c.get("overhead_s")]
    item_s = report["work"]["item_s"]
    if costs and min(costs) > item_s / 2:
        yield (
            f"a task costs {min(costs) * 1e3:.1f} ms beside the {item_s * 1e3:.1f} ms of its work: "
            "put several items into one task"
        )


def _noise(report: Figures) -> Iterable[str]:
    """Find rounds that differ so much that the figures are uncertain."""
    found = typical_noise(report)
    if found is not None and found > _NOISY:
        yield (
            f"the rounds differ by ±{found:.0%}: something else kept this machine "
            "busy; run it again when it is quiet, or with more --rounds"
        )

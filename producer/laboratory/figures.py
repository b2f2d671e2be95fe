"""From samples to figures: medians over the rounds, their spread, percentiles, laws."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from producer.laboratory.comparing import Cell, Comparison
from producer.laboratory.executors import Executor
from shared.pools import PoolKind

Figures = dict[str, Any]
# A process that grows by this much an item, and by that much in all, leaks.
_GROWTH_BYTES, _GROWN_BYTES = 64 * 1024, 8 * 1024 * 1024
_LARGE_BYTES = 1024 * 1024
# Threads that compute this many times as fast as one do not hold the GIL.
_SCALES = 1.3
# Runs that differ by more than this, half of them, met something else on the machine.
_NOISY = 0.15
_LANE_ITEMS = 400


def summarise(comparison: Comparison) -> Figures:
    """Everything that was found, fit for JSON; the recommendation comes on top of it."""
    cells = [_figures(cell, comparison) for cell in comparison.cells]
    serial = next((c for c in cells if c["executor"] == Executor.SERIAL and c["rates"]), None)
    for cell in cells:
        if serial and cell["rates"]:
            cell["speedup"] = cell["items_a_second"] / serial["items_a_second"]
    work = _work(comparison)
    report: Figures = {
        "task": comparison.task.name,
        "items": len(comparison.task.items),
        "rounds": comparison.rounds,
        "interrupted": comparison.interrupted,
        "started": comparison.started,
        "seconds": comparison.seconds,
        "machine": comparison.here,
        "workers": comparison.workers,
        "work": work,
        "cells": cells,
        "notes": comparison.notes,
    }
    report["releases_gil"] = releases_gil(report)
    for cell in cells:
        if cell["rates"]:
            cell["ceiling"] = ceiling(report, cell)
            cell["amdahl_serial_share"] = _karp_flatt(cell)
    report["findings"] = _findings(comparison, report)
    return report


def _figures(cell: Cell, comparison: Comparison) -> Figures:
    rates = [len(run["samples"]) / run["seconds"] for run in cell.runs]
    samples = [s for run in cell.runs for s in run["samples"] if "lost" not in s]
    noops = comparison.noops.get(cell.executor)
    starts = [run["startup_s"] for run in cell.runs if "startup_s" in run]
    found: Figures = {
        "executor": cell.executor.value,
        "where": "cluster" if cell.executor.kind else "local",
        "pool": cell.executor.kind.value if cell.executor.kind else None,
        "concurrency": cell.concurrency,
        "passes": cell.passes,
        "rates": rates,
        "skipped": cell.skipped,
        "problem": cell.problem,
        "failed": sum(_failed(s, cell) for run in cell.runs for s in run["samples"]),
    }
    if not rates or not samples:
        return {**found, "rates": []}
    latencies = [s["received"] - s["submitted"] for s in samples]
    rate = statistics.median(rates)
    return {
        **found,
        "items_a_second": rate,
        "spread": [min(rates), max(rates)],
        "speedup": None,
        "latency_s": {f"p{p}": percentile(latencies, p) for p in (50, 95, 99)},
        "latencies_s": _thinned(sorted(latencies), 200),
        "queued_s": statistics.median(max(0.0, s["began"] - s["submitted"]) for s in samples),
        "running_s": statistics.median(s["ended"] - s["began"] for s in samples),
        "cpu_s": statistics.median(_cpu_seconds(run["samples"]) for run in cell.runs),
        "peak_memory_bytes": max(_peak(run["samples"], cell, comparison) for run in cell.runs),
        "processes": max(_processes(run["samples"]) for run in cell.runs),
        "startup_s": statistics.median(starts) if starts else None,
        "overhead_s": statistics.median(noops) if noops else None,
        "overlap": statistics.median(_overlap(run["samples"]) for run in cell.runs),
        "timeline": _timeline(cell.runs[-1]["samples"]),
    }


def _failed(sample: dict[str, Any], cell: Cell) -> bool:
    """Whether an item has no value: a large one arrives locally, and cannot travel."""
    return bool("lost" in sample or sample["error"] or (cell.executor.kind and sample["refused"]))


def _work(comparison: Comparison) -> Figures:
    """One item by itself: its seconds, its share of computing, its memory.

    From the fastest run of one item at a time: whatever else the machine does only slows it.
    """
    alone = [
        cell
        for cell in comparison.cells
        if cell.runs and cell.concurrency == 1 and cell.executor is not Executor.ASYNCIO
    ]
    serial = [cell for cell in alone if cell.executor is Executor.SERIAL]
    runs = [run["samples"] for cell in (serial or alone)[:1] for run in cell.runs]
    whole = [samples for samples in runs if not any("lost" in s for s in samples)]
    samples: list[dict[str, Any]] = min(whole, key=_item_seconds, default=[])
    took = _item_seconds(samples)
    return {
        "item_s": statistics.median(s["ended"] - s["began"] for s in samples)
        if samples
        else comparison.item_s,
        "cpu_share": min(1.0, sum(s["cpu_s"] for s in samples) / took) if took else None,
        "item_bytes": comparison.item_bytes,
        "result_bytes": max((s["size"] for s in samples), default=0),
        "too_large": any(s["refused"] for s in samples),
    }


def _item_seconds(samples: list[dict[str, Any]]) -> float:
    return float(sum(s["ended"] - s["began"] for s in samples))


def releases_gil(report: Figures) -> bool | None:
    """Whether threads compute side by side; None where nothing shows it."""
    share = report["work"]["cpu_share"]
    measured = [cell for cell in report["cells"] if cell["rates"]]
    serial = [best_round(cell) for cell in measured if cell["executor"] == Executor.SERIAL]
    threads = [
        best_round(cell)
        for cell in measured
        if cell["executor"] == Executor.THREAD and cell["concurrency"] > 1
    ]
    if share is None or share < 0.5 or not serial or not threads:
        return None
    # What merely waits in the rest of its time speeds up as well: only beyond that.
    return bool(max(threads) / max(serial) > _SCALES / share)


def best_round(cell: Figures) -> float:
    """The items a second of its fastest round: whatever else the machine does only slows it."""
    return float(max(cell["rates"]))


def noise(cell: Figures) -> float:
    """By how much its rounds differ from their median."""
    low, high = cell["spread"]
    return float((high - low) / 2 / cell["items_a_second"])


def ceiling(report: Figures, cell: Figures) -> float | None:
    """The most items a second that the laws allow: so many at once, so much computing each.

    Little: n at once, T + o seconds each (o: the overhead of a task), give n / (T + o).
    Utilisation: k cores, u x T + o seconds of computing each, give k / (u x T + o), and a
    process that holds the GIL gives 1 / (u x T) at most.
    """
    work, overhead_s = report["work"], cell["overhead_s"] or 0.0
    most = saturation(report, cell)
    if most is None:
        return None
    return float(min(cell["concurrency"] / (work["item_s"] + overhead_s), most))


def saturation(report: Figures, cell: Figures) -> float | None:
    """The items a second at which the cores, or the GIL, have no time left."""
    work, overhead_s = report["work"], cell["overhead_s"] or 0.0
    if work["cpu_share"] is None or not work["item_s"]:
        return None
    computing_s = max(work["cpu_share"] * work["item_s"], 1e-6)
    where = report["workers"].get(cell["pool"], report["machine"])
    most = usable_cores(report, cell["executor"]) / computing_s
    if where["host"] == report["machine"]["host"]:
        # Sending, taking and answering compute on the same cores.
        most = min(most, all_cores(where) / (computing_s + overhead_s))
    return float(most)


def all_cores(where: Figures) -> float:
    """Cores, or what a container may use of them."""
    return float(min(where["cores"], where["cpu_limit"] or where["cores"]))


def usable_cores(report: Figures, executor: str) -> float:
    """How many cores can compute for this executor at once."""
    pool = Executor(executor).kind
    where = report["workers"].get(pool.value, report["machine"]) if pool else report["machine"]
    cores = all_cores(where)
    one_thread = executor in (
        Executor.SERIAL,
        Executor.ASYNCIO,
        Executor.GREENLET,
        Executor.GEVENT_POOL,
    )
    threads = executor in (Executor.THREAD, Executor.THREADS)
    if one_thread or (threads and where["gil"] and not report["releases_gil"]):
        return min(1.0, cores)
    return cores


def _karp_flatt(cell: Figures) -> float | None:
    """The share that did not run in parallel, as Amdahl's law has it, from what was measured."""
    n, speedup = cell["concurrency"], cell["speedup"]
    if n < 2 or not speedup:
        return None
    return float(min(1.0, max(0.0, (1 / speedup - 1 / n) / (1 - 1 / n))))


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered)) - 1))]


def _cpu_seconds(samples: list[dict[str, Any]]) -> float:
    """What the processes that ran items computed meanwhile."""
    spans: dict[Any, list[float]] = defaultdict(list)
    for sample in samples:
        if "lost" not in sample:
            spans[sample["host"], sample["pid"]].extend(sample["process_cpu"])
    return sum(max(span) - min(span) for span in spans.values())


def _processes(samples: list[dict[str, Any]]) -> int:
    return len({(s["host"], s["pid"]) for s in samples if "lost" not in s})


def _peak(samples: list[dict[str, Any]], cell: Cell, comparison: Comparison) -> int:
    peaks: dict[Any, int] = {}
    for sample in samples:
        if "lost" not in sample:
            key = sample["host"], sample["pid"]
            peaks[key] = max(peaks.get(key, 0), sample["peak"])
    total = sum(peaks.values())
    if cell.executor.kind is PoolKind.PREFORK:
        total += comparison.workers[cell.executor.kind.value]["parent_rss_bytes"]
    return total


def _overlap(samples: list[dict[str, Any]]) -> float:
    """How many items of one process were at work at once, on average while any was."""
    by_process: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        if "lost" not in sample:
            by_process[sample["host"], sample["pid"]].append((sample["began"], sample["ended"]))
    busy = covered = 0.0
    for spans in by_process.values():
        end = float("-inf")
        for began, ended in sorted(spans):
            busy += ended - began
            covered += max(0.0, ended - max(began, end))
            end = max(end, ended)
    return busy / covered if covered else 1.0


def _timeline(samples: list[dict[str, Any]]) -> list[list[Any]]:
    """Process, lane, begin and end of each item: a lane holds one item at a time."""
    known = [s for s in samples if "lost" not in s]
    if not known:
        return []
    origin = min(s["submitted"] for s in known)
    ends: dict[Any, list[float]] = defaultdict(list)
    bars = []
    for sample in sorted(known, key=lambda s: s["began"])[:_LANE_ITEMS]:
        lanes = ends[sample["host"], sample["pid"]]
        lane = next((n for n, end in enumerate(lanes) if end <= sample["began"]), len(lanes))
        lanes[lane : lane + 1] = [sample["ended"]]
        name = f"{sample['host']}:{sample['pid']}"
        bars.append(
            [name, lane, round(sample["began"] - origin, 5), round(sample["ended"] - origin, 5)]
        )
    return bars


def _thinned(values: list[float], at_most: int) -> list[float]:
    step = max(1, len(values) / at_most)
    return [round(values[int(i * step)], 6) for i in range(min(len(values), at_most))]


def _findings(comparison: Comparison, report: Figures) -> list[str]:
    """What a reader must know beside the figures, a sentence each."""
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
        yield f"its result cannot travel: {refusals}"
    elif size > _LARGE_BYTES:
        yield f"it returns {size / 1e6:.1f} MB an item, which all goes through Redis: return a file's name or a key"


def growth_bytes(comparison: Comparison) -> int:
    """By how much a process grows with each item; 0 for one that does not."""
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
    # The first items fill caches; what goes on in the second half is growth.
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
    """A gevent worker that has one item at work although it may hold many."""
    work = report["work"]
    green = [
        c
        for executor in (Executor.GREENLET, Executor.GEVENT_POOL)
        for c in report["cells"]
        if c["executor"] == executor and c["rates"] and c["concurrency"] >= 2
    ]
    # The local ones show it best: nothing but the items takes time there.
    green = [c for c in green if c["executor"] == green[0]["executor"]]
    if work["cpu_share"] is None or not green or work["item_s"] < 0.001:
        return
    if any(c["overlap"] >= 1.2 for c in green):
        return
    if green[0]["items_a_second"] * work["item_s"] < 0.5:
        return  # it was seldom at work at all
    if work["cpu_share"] > 0.8:
        yield "gevent gains nothing: it computes, and never gives way to another greenlet"
    elif work["cpu_share"] < 0.5:
        yield (
            f"it blocks the gevent loop: it waits {1 - work['cpu_share']:.0%} of its time, yet one item "
            "ran at a time; it waits in a call that gevent cannot patch (C code, a file, a driver of its own)"
        )


def _overhead(report: Figures) -> Iterable[str]:
    """Work that is smaller than what it costs to send it."""
    costs = [c["overhead_s"] for c in report["cells"] if c["pool"] and c.get("overhead_s")]
    item_s = report["work"]["item_s"]
    if costs and min(costs) > item_s / 2:
        yield (
            f"a task costs {min(costs) * 1e3:.1f} ms beside the {item_s * 1e3:.1f} ms of its work: "
            "put several items into one task"
        )


def _noise(report: Figures) -> Iterable[str]:
    """Rounds that differ: these figures say less than they seem to."""
    measured = [noise(cell) for cell in report["cells"] if len(cell["rates"]) > 1]
    if measured and statistics.median(measured) > _NOISY:
        yield (
            f"the rounds differ by ±{statistics.median(measured):.0%}: something else kept this machine "
            "busy; run it again when it is quiet, or with more --rounds"
        )

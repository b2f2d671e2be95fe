"""Turns samples into figures: medians over the rounds, their spread, percentiles."""

import statistics
from collections import defaultdict
from typing import Any

from producer.laboratory import laws
from producer.laboratory.comparing import Cell, Comparison
from producer.laboratory.executors import Executor
from producer.laboratory.laws import Figures
from shared.pools import PoolKind

_LANE_ITEMS = 400


def summarise(comparison: Comparison) -> Figures:
    """All figures of a comparison, ready for JSON. The recommendation is added later."""
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
    report["releases_gil"] = laws.releases_gil(report)
    for cell in cells:
        if cell["rates"]:
            cell["ceiling"] = laws.ceiling(report, cell)
            cell["amdahl_serial_share"] = laws.serial_share(cell)
    return report


def _figures(cell: Cell, comparison: Comparison) -> Figures:
    rates = [len(run["samples"]) / run["seconds"] for run in cell.runs]
    samples = [s for run in cell.runs for s in run["samples"] if "lost" not in s]
    noops = comparison.noops.get(cell.executor)
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
        "startup_s": _startup(cell, comparison),
        "overhead_s": statistics.median(noops) if noops else None,
        "overlap": statistics.median(_overlap(run["samples"]) for run in cell.runs),
        "timeline": _timeline(cell.runs[-1]["samples"]),
    }


def _startup(cell: Cell, comparison: Comparison) -> float | None:
    """The seconds until a local pool, or a worker, could run items."""
    if cell.executor.kind:
        found: float | None = comparison.workers[cell.executor.kind.value]["startup_s"]
    else:
        found = statistics.median(run["startup_s"] for run in cell.runs)
    return found


def _failed(sample: dict[str, Any], cell: Cell) -> bool:
    """True if an item has no value: it failed, or its value is too large to travel."""
    return bool("lost" in sample or sample["error"] or (cell.executor.kind and sample["refused"]))


def _work(comparison: Comparison) -> Figures:
    """The figures of a single item: its seconds, its share of computing, its memory.

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


def noise(cell: Figures) -> float | None:
    """By how much the rounds differ from their median, or None after a single round."""
    if len(cell["rates"]) < 2:
        return None
    low, high = cell["spread"]
    return float((high - low) / 2 / cell["items_a_second"])


def typical_noise(report: Figures) -> float | None:
    """The median over all cells."""
    shown = [noise(cell) for cell in report["cells"] if cell["rates"]]
    return statistics.median(known) if (known := [n for n in shown if n is not None]) else None


def percentile(values: list[float], percent: int) -> float:
    """The value that the given percentage of values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered)) - 1))]


def _cpu_seconds(samples: list[dict[str, Any]]) -> float:
    """The processor time of the processes that ran items."""
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
    """The average number of items that one process ran at once, while at least one ran."""
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

"""Derives advice from the figures: pool, concurrency, prefetch, recycling, memory, and reasons.

The same figures always give the same advice. So that noise does not change it either, it
compares the best rounds, takes no size beyond what the laws can use, the smallest size that is
about as fast as the best, and of pools that are about as fast the simplest.
"""

import math
from typing import Any

from producer.laboratory.executors import LADDER, Executor
from producer.laboratory.figures import noise, typical_noise
from producer.laboratory.laws import Figures, best_round, saturation, usable_cores
from shared.pools import PoolKind

# Less than this much apart is the same; less still where sending takes longer than the work,
# since that says little of the work.
ALIKE, ALIKE_WHEN_SENDING = 0.85, 0.6
# Celery's default first: processes survive each other's crashes, and can be ended and replaced.
SIMPLEST_FIRST = (PoolKind.PREFORK, PoolKind.THREADS, PoolKind.GEVENT)
NOT_MEASURED = "no pool of the cluster was measured"
_MIB = 1024 * 1024
# A child may grow to about this many times what it needs before it is replaced.
_RECYCLE_AT = 2


def recommend(report: Figures, growth_bytes: int = 0) -> Figures | None:
    """The recommendation, or None. `why_none` gives the reason for None."""
    picked = {}
    for kind in SIMPLEST_FIRST:
        cells = [
            c
            for c in report["cells"]
            if c["pool"] == kind.value and c["rates"] and _works(c, report)
        ]
        if cells:
            picked[kind] = _smallest(cells, _useful(report, cells[0]))
    if not picked:
        return None
    best = max(map(best_round, picked.values()))
    alike = _alike(report, list(picked.values()))
    chosen = next(
        k for k in SIMPLEST_FIRST if k in picked and best_round(picked[k]) >= alike * best
    )
    cell = picked.pop(chosen)
    rival = max(picked.values(), key=best_round, default=None)
    found = {
        "pool": chosen.value,
        "concurrency": cell["concurrency"],
        "prefetch_multiplier": _prefetch(report["work"]["item_s"]),
        "max_memory_per_child_kib": None,
        "memory_bytes": _memory(report, cell),
        "items_a_second": cell["items_a_second"],
        "speedup": cell["speedup"],
        **_confidence(report, cell, rival, alike),
    }
    if chosen is PoolKind.PREFORK and growth_bytes:
        child = (report["workers"][chosen.value]["rss_bytes"] + report["work"]["item_bytes"]) / _MIB
        limit = 64 * max(1, math.ceil(_RECYCLE_AT * child / 64))
        found["max_memory_per_child_kib"] = limit * 1024
        found["memory_bytes"] = (cell["concurrency"] * limit + 64) * _MIB
    found["reason"] = _reason(report, cell, rival)
    found["laws"] = _laws(report, cell)
    found["command"] = " ".join(_command(found))
    found["compose"] = _compose(found)
    return found


def why_none(report: Figures) -> str:
    """The reason for no recommendation."""
    measured = [cell for cell in report["cells"] if cell["pool"] and cell["rates"]]
    if not measured:
        return NOT_MEASURED
    if all(_failing(cell, report) == 1 for cell in measured):
        return "every item failed"
    return "in every pool more items failed than here"


def _alike(report: Figures, cells: list[Figures]) -> float:
    """The share of the best rate from which a pool counts as equally good."""
    sending_s = min((cell["overhead_s"] or 0.0 for cell in cells), default=0.0)
    return ALIKE_WHEN_SENDING if sending_s > report["work"]["item_s"] else ALIKE


def _memory(report: Figures, cell: Figures) -> int:
    """The worker's memory: its processes, and the items that run at once."""
    where = report["workers"][cell["pool"]]
    items = report["work"]["item_bytes"] * cell["concurrency"]
    if cell["executor"] == Executor.PREFORK:
        return int(where["parent_rss_bytes"] + where["rss_bytes"] * cell["concurrency"] + items)
    return int(where["rss_bytes"] + items)


def _works(cell: Figures, report: Figures) -> bool:
    """True if no more items fail here than in the other executors."""
    anyway = min(_failing(c, report) for c in report["cells"] if c["rates"])
    # What is too large for a message fails on each pool alike: still say which would be best.
    if report["work"]["too_large"]:
        return True
    share = _failing(cell, report)
    return share < 1 and share <= anyway + 0.01


def _failing(cell: Figures, report: Figures) -> float:
    return float(cell["failed"] / max(1, _count(cell, report)))


def _count(cell: Figures, report: Figures) -> int:
    return int(len(cell["rates"]) * cell["passes"] * report["items"])


def _useful(report: Figures, cell: Figures) -> float:
    """The size beyond which no law sees a use: what computes half its time fills k cores with 2k.

    What waits for the most part shows by itself how many it can use.
    """
    share = report["work"]["cpu_share"]
    if share is None or share < 0.5:
        return math.inf
    # Allow a little slack, so that a share of 0.98 on two cores does not ask for a third process.
    needed = 0.9 * usable_cores(report, cell["executor"]) / share
    return next((size for size in LADDER if size >= needed), math.inf)


def _smallest(cells: list[Figures], useful: float) -> Figures:
    """The smallest size that is about as fast as the best useful size."""
    by_size = sorted(cells, key=lambda cell: int(cell["concurrency"]))
    within = [cell for cell in by_size if cell["concurrency"] <= useful] or by_size[:1]
    best = max(map(best_round, within))
    return next(cell for cell in within if best_round(cell) >= ALIKE * best)


def _prefetch(item_s: float) -> int:
    if item_s >= 0.015:
        return 1
    return 4 if item_s >= 0.002 else 16


def _confidence(report: Figures, cell: Figures, rival: Figures | None, alike: float) -> Figures:
    if rival is None:
        return {"confidence": "alone", "confidence_text": "no other pool was measured"}
    ratio = best_round(cell) / best_round(rival)
    typical = typical_noise(report) or 0.0
    # A lucky pair of rounds is as uncertain as the rest, and so is a size that ran once.
    both = sum(max(noise(one) or 0.0, typical) for one in (cell, rival))
    other = _name(rival)
    if ratio < 1 / alike:
        return {
            "confidence": "within the noise",
            "confidence_text": (
                f"{other} does {1 / ratio:.2f} times as much, runs differ by ±{both / 2:.0%}: "
                "no difference to rely on, so the simpler pool"
            ),
        }
    if ratio > 1 + 2 * both and ratio >= 1.5:
        word = "sure"
    elif ratio > 1 + both:
        word = "fairly sure"
    else:
        word = "unsure"
    return {
        "confidence": word,
        "confidence_text": f"{ratio:.1f} times {other}, runs differ by ±{both / 2:.0%}",
    }


def _name(cell: Figures) -> str:
    return f"{cell['pool']} at {cell['concurrency']}"


def _reason(report: Figures, cell: Figures, rival: Figures | None) -> str:
    share = report["work"]["cpu_share"]
    parts = []
    if share is not None:
        parts.append(
            f"computes {share:.0%} of its time"
            if share >= 0.5
            else f"waits {1 - share:.0%} of its time"
        )
    if report["releases_gil"]:
        parts.append("releases the GIL meanwhile")
    done = f"{_name(cell)} does {cell['items_a_second']:.1f} items a second"
    if cell["speedup"]:
        done += f", {cell['speedup']:.1f}× serial"
    if rival is not None:
        done += f" and {best_round(cell) / best_round(rival):.1f}× of {_name(rival)}"
        times = _memory(report, cell) / max(1, _memory(report, rival))
        done += f", in {times:.1f}× of its memory"
    return "; ".join([*parts, done])


def _laws(report: Figures, cell: Figures) -> list[str]:
    """The reason why the measured curve flattens."""
    work = report["work"]
    said = []
    if cell.get("ceiling"):
        each_s = work["item_s"] + (cell["overhead_s"] or 0.0)
        said.append(
            f"Little: {cell['concurrency']} at once, {each_s * 1e3:.1f} ms each (of them "
            f"{(cell['overhead_s'] or 0.0) * 1e3:.1f} on the way), give {cell['concurrency'] / each_s:,.1f} items "
            f"a second at most; the cores, or the GIL, are full at {saturation(report, cell):,.1f}; "
            f"measured {cell['items_a_second']:,.1f}"
        )
    if cell.get("amdahl_serial_share") is not None:
        serial = cell["amdahl_serial_share"]
        most = f"{1 / serial:.1f}×" if serial > 0.001 else "no limit in sight"
        said.append(
            f"Amdahl: {serial:.1%} of it did not run in parallel at {cell['concurrency']}; "
            f"however many more: {most} at most"
        )
    return said


def _command(found: Figures) -> list[str]:
    words = [
        *("celery", "-A", "worker", "worker", "--pool", found["pool"]),
        *("--concurrency", str(found["concurrency"]), "--queues", found["pool"]),
        *("--hostname", f"{found['pool']}@%h"),
        *("--prefetch-multiplier", str(found["prefetch_multiplier"])),
    ]
    if found["max_memory_per_child_kib"]:
        words += ["--max-memory-per-child", str(found["max_memory_per_child_kib"])]
    return words


def _compose(found: dict[str, Any]) -> str:
    """An override for docker-compose.yml, with 1.5 times the measured memory."""
    limit = 64 * math.ceil(found["memory_bytes"] * 1.5 / _MIB / 64)
    words = "".join(f'      - "{word}"\n' for word in _command(found))
    return (
        f"services:\n  {found['pool']}:\n    command:\n{words}    mem_limit: {max(limit, 128)}m\n"
    )

"""The laws that limit a measured curve, and a check whether threads escape the GIL."""

from typing import Any

from producer.laboratory.executors import Executor

Figures = dict[str, Any]
# If threads compute this many times as fast as one, they do not hold the GIL.
_SCALES = 1.3


def best_round(cell: Figures) -> float:
    """Items per second in the fastest round, because other programs only slow a round down."""
    return float(max(cell["rates"]))


def ceiling(report: Figures, cell: Figures) -> float | None:
    """The highest rate, in items per second, that the laws allow for a concurrency.

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
    """The rate, in items per second, at which the cores, or the GIL, are fully used."""
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
    """The number of cores that the machine, or the container, may use."""
    return float(min(where["cores"], where["cpu_limit"] or where["cores"]))


def usable_cores(report: Figures, executor: str) -> float:
    """The number of cores that can compute for this executor at once."""
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


def serial_share(cell: Figures) -> float | None:
    """The share of the work that did not run in parallel, by Amdahl's law from measured rates."""
    n, speedup = cell["concurrency"], cell["speedup"]
    if n < 2 or not speedup:
        return None
    return float(min(1.0, max(0.0, (1 / speedup - 1 / n) / (1 - 1 / n))))


def releases_gil(report: Figures) -> bool | None:
    """True if threads compute in parallel; None if the measurements do not show it."""
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

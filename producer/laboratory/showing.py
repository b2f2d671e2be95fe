"""Shows a comparison on the terminal: a table with bars, the findings, the advice."""

from collections.abc import Callable, Iterator
from typing import Any

from producer.laboratory.advice import why_none
from producer.laboratory.figures import noise
from producer.laboratory.laws import Figures
from producer.printing import Sheet

_BAR_WIDTH = 12


def show(report: Figures, console: Any) -> None:
    """Print the whole report."""
    console.print(heading(report))
    for table in _tables(report, draws=console.encoding.lower().startswith("utf")):
        console.print(table)
    for line in left_out(report):
        console.print(line)
    for line in [*report["notes"], *report["findings"]]:
        console.print(f"• {line}")
    advice = report.get("recommendation")
    if report["interrupted"]:
        console.print("Interrupted: these are the figures so far.")
    if advice is None:
        console.print(f"No recommendation: {why_none(report)}.")
        return
    console.print(f"\nRecommended: {summary(advice)}")
    console.print(f"  because    {advice['reason']}")
    console.print(f"  how sure   {advice['confidence']}: {advice['confidence_text']}")
    for law in advice["laws"]:
        console.print(f"  {law}")
    console.print(f"  memory     about {mib(advice['memory_bytes'])}")
    console.print(f"\n  {advice['command']}\n", soft_wrap=True)
    console.print(advice["compose"])


def left_out(report: Figures) -> Iterator[str]:
    """The executors and sizes that were not measured, with reasons, except useless sizes."""
    for cell in report["cells"]:
        alone = len([c for c in report["cells"] if c["executor"] == cell["executor"]]) == 1
        if cell["skipped"] and (alone or "GiB" in cell["skipped"]):
            size = "" if alone else f" × {cell['concurrency']}"
            yield f"{cell['executor']}{size}: left out, {cell['skipped']}"


def summary(advice: Figures) -> str:
    """Pool, size, prefetch, recycling in one line."""
    text = f"{advice['pool']}, {advice['concurrency']} at once, prefetch multiplier {advice['prefetch_multiplier']}"
    if advice["max_memory_per_child_kib"]:
        text += f", children replaced at {advice['max_memory_per_child_kib'] // 1024} MiB"
    return text


def heading(report: Figures) -> str:
    """The compared function and the machine."""
    machine, work = report["machine"], report["work"]
    share = f", computing {work['cpu_share']:.0%} of it" if work["cpu_share"] is not None else ""
    limits = [
        f"{name} {found['cores']} cores"
        + (f" (limit {found['cpu_limit']:g})" if found["cpu_limit"] else "")
        + (
            f", memory limit {mib(found['memory_limit_bytes'])}"
            if found["memory_limit_bytes"]
            else ""
        )
        for name, found in {"here": machine, **report["workers"]}.items()
    ]
    gil = "on" if machine["gil"] else "off"
    return (
        f"{report['task']}: {report['items']} items of {work['item_s'] * 1e3:.1f} ms{share}; "
        f"{report['rounds']} rounds; Python {machine['python']}, GIL {gil}; {'; '.join(limits)}"
    )


def _tables(report: Figures, *, draws: bool) -> Iterator[Any]:
    """Two tables, because one would not fit into 80 columns; with bars if they can be drawn."""
    # Draw no lines: the bar and the percentiles need their columns.
    measured = [cell for cell in report["cells"] if cell["rates"]]
    if not measured:
        return
    best = max(cell["items_a_second"] for cell in measured)
    for columns, with_bar in ((SPEED, draws), (COST, False)):
        rows = [
            [write(cell) for write in columns.values()]
            + ([bar(cell["items_a_second"] / best)] if with_bar else [])
            for cell in measured
        ]
        titles = [*columns, *([""] if with_bar else [])]
        numbers = range(1, len(columns))
        yield Sheet(titles, rows, right=numbers, whole=range(len(titles)), framed=False)
        yield ""


def _number(name: str, places: int, times: float = 1.0) -> Callable[[Figures], str]:
    def write(cell: Figures) -> str:
        value = cell.get(name)
        return "" if value is None else f"{value * times:.{places}f}"

    return write


def _latency(which: str) -> Callable[[Figures], str]:
    return lambda cell: f"{cell['latency_s'][which] * 1e3:.0f}"


_NAME: dict[str, Callable[[Figures], str]] = {
    "executor": lambda cell: str(cell["executor"]),
    "n": lambda cell: str(cell["concurrency"]),
}
SPEED: dict[str, Callable[[Figures], str]] = {
    **_NAME,
    "items/s": _number("items_a_second", 1),
    "±": lambda cell: "" if (found := noise(cell)) is None else f"{found:.0%}",
    "× serial": _number("speedup", 2),
    "law": _number("ceiling", 0),
    "p50": _latency("p50"),
    "p95": _latency("p95"),
    "p99 ms": _latency("p99"),
}
COST: dict[str, Callable[[Figures], str]] = {
    **_NAME,
    "queued": _number("queued_s", 1, 1e3),
    "run ms": _number("running_s", 1, 1e3),
    "task ms": _number("overhead_s", 2, 1e3),
    "start s": _number("startup_s", 2),
    "CPU s": _number("cpu_s", 2),
    "MiB": _number("peak_memory_bytes", 0, 1 / 2**20),
    "failed": lambda cell: str(cell["failed"] or ""),
}


def bar(share: float) -> str:
    """A bar of eighths."""
    eighths = round(share * _BAR_WIDTH * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def mib(size_bytes: float) -> str:
    """A number of bytes as readable text."""
    return f"{size_bytes / 2**20:,.0f} MiB"

"""The charts of a comparison, drawn by matplotlib where it is installed (the extra `report`).

Each executor has a colour of the Okabe-Ito palette, which colour-blind readers can tell apart,
and a marker and a dash of its own as well, so that a print in grey is enough.
"""

import io
import re
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from producer.laboratory.executors import Executor
from producer.laboratory.laws import Figures
from shared.errors import DaySixError

SUFFIXES = (".html", ".md", ".svg", ".png")

# colour, marker, dash: the same for an executor in each chart.
STYLES: dict[str, tuple[str, str, str]] = {
    Executor.SERIAL: ("#7f7f7f", ".", "-"),
    Executor.PROCESS: ("#E69F00", "s", "-"),
    Executor.THREAD: ("#56B4E9", "o", "-"),
    Executor.ASYNCIO: ("#CC79A7", "v", "-"),
    Executor.GREENLET: ("#44AA77", "^", "-"),
    Executor.PREFORK: ("#D55E00", "s", "--"),
    Executor.THREADS: ("#2277CC", "o", "--"),
    Executor.GEVENT_POOL: ("#009E73", "^", "--"),
}
# Placeholders for colours that the page's style sets, such as the text's colour.
TEXT, _FAINT = "#010203", "#040506"
_MOST_LANES = 20


class NotInstalled(DaySixError):
    """Raised when charts are asked for and matplotlib is not there."""


def check_installed() -> None:
    """Raise `NotInstalled` if matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise NotInstalled(
            "--report draws with matplotlib, which is not installed: pip install 'day-six[report]', "
            "or pip install matplotlib"
        )


def best_cells(report: Figures) -> list[Figures]:
    """For each executor its fastest size; the recommended one for the recommended pool."""
    advice = report.get("recommendation")
    best: dict[str, Figures] = {}
    for cell in report["cells"]:
        if not cell["rates"]:
            continue
        name = cell["executor"]
        chosen = advice and (cell["pool"], cell["concurrency"]) == (
            advice["pool"],
            advice["concurrency"],
        )
        mine = best.get(name)
        faster = mine is None or cell["items_a_second"] > mine["items_a_second"]
        if chosen or (faster and not (mine and mine["chosen"])):
            best[name] = {**cell, "chosen": bool(chosen)}
    return list(best.values())


def _label(cell: Figures) -> str:
    return f"{cell['executor']} × {cell['concurrency']}"


def throughput(figure: Any, report: Figures) -> None:
    """Items a second of each executor at its best size, with the spread of the rounds."""
    cells = best_cells(report)[::-1]
    axes = figure.subplots()
    for place, cell in enumerate(cells):
        rate, (low, high) = cell["items_a_second"], cell["spread"]
        axes.barh(
            place,
            rate,
            color=STYLES[cell["executor"]][0],
            hatch="//" if cell["where"] == "cluster" else None,
            edgecolor=TEXT,
            linewidth=0.6,
            xerr=[[rate - low], [high - rate]],
            ecolor=TEXT,
            capsize=3,
        )
        axes.annotate(f"{rate:,.0f}", (high, place), (4, -3), textcoords="offset points")
    axes.set_yticks(range(len(cells)), [_label(cell) for cell in cells])
    axes.set_xlabel("items a second (hatched: cluster)")
    axes.margins(x=0.15)


def speedup(figure: Any, report: Figures) -> None:
    """Speed-up against concurrency. Thin lines show the limits of the laws for the cluster."""
    axes = figure.subplots()
    serial = next(
        (
            c["items_a_second"]
            for c in report["cells"]
            if c["executor"] == Executor.SERIAL and c["rates"]
        ),
        None,
    )
    lines: dict[str, list[Figures]] = defaultdict(list)
    for cell in report["cells"]:
        if cell["rates"] and cell["speedup"] and cell["executor"] != Executor.SERIAL:
            lines[cell["executor"]].append(cell)
    for name, cells in lines.items():
        colour, marker, dash = STYLES[name]
        cells.sort(key=lambda cell: int(cell["concurrency"]))
        sizes = [cell["concurrency"] for cell in cells]
        axes.plot(
            sizes, [c["speedup"] for c in cells], dash, color=colour, marker=marker, label=name
        )
        if cells[0]["where"] == "cluster" and serial and all(c.get("ceiling") for c in cells):
            axes.plot(sizes, [c["ceiling"] / serial for c in cells], ":", color=colour, linewidth=1)
    axes.set_xscale("log", base=2)
    if any(cell["speedup"] > 8 for cells in lines.values() for cell in cells):
        axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("at once (dotted: what the laws allow)")
    axes.set_ylabel("times serial")
    if lines:
        axes.legend(fontsize=8, frameon=False, labelcolor=TEXT)


def latencies(figure: Any, report: Figures) -> None:
    """Time from submit to result at the best size: quartiles, median, and 5 to 95 percent."""
    cells = best_cells(report)[::-1]
    axes = figure.subplots()
    drawn = axes.boxplot(
        [[value * 1e3 for value in cell["latencies_s"]] for cell in cells],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        tick_labels=[_label(cell) for cell in cells],
        medianprops={"color": TEXT},
        whiskerprops={"color": TEXT},
        capprops={"color": TEXT},
    )
    for box, cell in zip(drawn["boxes"], cells, strict=True):
        box.set(facecolor=STYLES[cell["executor"]][0], edgecolor=TEXT, linewidth=0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "25" else "")
    axes.set_xlabel("milliseconds from submit to result")


def timeline(figure: Any, report: Figures) -> None:
    """A timeline of processes and items. A lane holds one item at a time."""
    cells = [cell for cell in best_cells(report) if cell["timeline"]]
    if not cells:
        return
    heights = [min(_MOST_LANES, len(_lanes(cell["timeline"]))) + 3 for cell in cells]
    axes = figure.subplots(len(cells), squeeze=False, height_ratios=heights)[:, 0]
    for ax, cell in zip(axes, cells, strict=True):
        draw_lanes(ax, cell["timeline"], STYLES[cell["executor"]][0])
        lanes = len(_lanes(cell["timeline"]))
        shown = f", {_MOST_LANES} of {lanes} lanes shown" if lanes > _MOST_LANES else ""
        processes = f"{cell['processes']} process" + ("es" if cell["processes"] > 1 else "")
        ax.set_title(f"{_label(cell)}: {processes}{shown}", fontsize=9, loc="left", color=TEXT)
    axes[-1].set_xlabel("seconds")


def draw_lanes(ax: Any, bars: list[list[Any]], colour: str) -> None:
    """A Gantt chart: a row for each lane, two shades for one process beside the next."""
    lanes = _lanes(bars)[:_MOST_LANES]
    places = {lane: place for place, lane in enumerate(lanes)}
    processes = list(dict.fromkeys(name for name, _ in lanes))
    rows: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for name, lane, began, ended in bars:
        if (name, lane) in places:
            rows[name, lane].append((began, max(ended - began, 1e-4)))
    for lane, spans in rows.items():
        ax.broken_barh(
            spans,
            (places[lane] - 0.4, 0.8),
            facecolor=colour,
            edgecolor=TEXT,
            linewidth=0.4,
            alpha=1.0 if processes.index(lane[0]) % 2 == 0 else 0.55,
        )
    ax.set_yticks([])
    ax.set_ylim(len(lanes) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")


def _lanes(bars: list[list[Any]]) -> list[tuple[str, int]]:
    return sorted({(name, lane) for name, lane, *_ in bars})


CHARTS: dict[str, tuple[Callable[[Any, Figures], None], str]] = {
    "throughput": (throughput, "Items a second, each executor at its best size"),
    "speedup": (speedup, "Speed-up against how many at once"),
    "latency": (latencies, "How long an item takes from submit to result"),
    "timeline": (timeline, "Which worker and process ran which item"),
}
_WIDTH, _HEIGHT = 5.2, 3.4


def svg(name: str, draw: Callable[[Any, Figures], None], report: Figures) -> str:
    """A chart as a part of a page, with the page's colours of text and lines."""
    text = _render(draw, report, "svg", name).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Several pictures share a page, whose ids must differ.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    text = text.replace(TEXT, "currentColor").replace(_FAINT, "var(--faint)")
    # As wide as the page has room, not as many points.
    tag, end, rest = text.partition(">")
    return re.sub(r' (?:width|height)="[^"]*"', "", tag) + end + rest


def picture(report: Figures, kind: str) -> bytes:
    """All charts in one picture, on white."""

    def draw(figure: Any, report: Figures) -> None:
        # The timeline has the most rows, so it gets a column of its own.
        left, right = figure.subfigures(1, 2)
        parts = [*left.subfigures(len(CHARTS) - 1, 1), right]
        for part, (chart, title) in zip(parts, CHARTS.values(), strict=True):
            part.suptitle(title, fontsize=10)
            chart(part, report)

    return _render(draw, report, kind, "all", size=(_WIDTH * 2.2, _HEIGHT * 3.4), on_white=True)


def single(name: str, draw: Callable[[Any, Figures], None], report: Figures) -> bytes:
    """One chart as an SVG file, on white."""
    return _render(draw, report, "svg", name, on_white=True)


def _render(
    draw: Callable[[Any, Figures], None],
    report: Figures,
    kind: str,
    name: str,
    size: tuple[float, float] | None = None,
    *,
    on_white: bool = False,
) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    height = _HEIGHT
    if name == "timeline":
        lanes = [min(_MOST_LANES, len(_lanes(c["timeline"]))) + 4 for c in best_cells(report)]
        height = max(_HEIGHT, 0.11 * sum(lanes))
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "#d5d5d5" if on_white else _FAINT,
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.5,
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), TEXT
        ),
    }
    written = io.BytesIO()
    with mpl.rc_context(style):
        figure = Figure(figsize=size or (_WIDTH, height), layout="constrained")
        draw(figure, report)
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(written, format=kind, dpi=130, transparent=not on_white, metadata=metadata)
    return written.getvalue()

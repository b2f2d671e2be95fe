"""``producer tour --report``: each row's timeline, local beside cluster, explained, with its code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from producer import tour
from producer.laboratory import charts, pages

# Lane, begin, end.
Bar = tuple[str, float, float]
_MOST_LANES = 12

EXPLAINED = {
    "S1": (
        "Two processes count to five, a second a step, and together take five seconds, not ten: each "
        "has a lane of its own. A process has its own memory and its own GIL, and may run many threads; "
        "that it runs on one thread only is a misunderstanding. On the cluster the two are tasks in two "
        "worker processes, perhaps on two machines, and what they print still arrives here."
    ),
    "S2": (
        "Twenty tasks of a second in a pool of five take four seconds: five lanes, four tasks in each. "
        "A pool bounds what runs at once, which keeps a machine from being flooded with processes. "
        "And unlike a bare process, a task of a pool gives its value back."
    ),
    "S3": (
        "The same twenty tasks, with a lock around each: one lane at a time, twenty seconds in all. "
        "Whoever shares a file or a counter pays with this. On the cluster the lock is held in Redis, so "
        "that it holds across machines, and is freed when its holder dies."
    ),
    "S4": (
        "One process sends a message, one sends a number each second, one receives for ever. "
        "Processes share no variables: what one knows the other learns through a queue. "
        "The endless ones end when they are told, or when whoever started them is gone."
    ),
    "S5": (
        "Nine threads each choose an item of a list and move it to another. Choosing and removing are "
        "two steps, and between them another thread may do the same, so items are left behind or doubled. "
        "A lock around both steps cures it, and so does a queue, whose get is a single step."
    ),
    "S6": (
        "An executor gives a future for each call at once, and its value later. Here two threads take "
        "turns at a lock. The results come in the order of the calls, whoever was done first."
    ),
    "S7": (
        "Computing in Python holds the GIL, so threads take as long as doing it serially, while processes "
        "share the cores. PyPy has a GIL as well, whatever is said: only a free-threaded build of CPython "
        "has none. C code may release the GIL while it computes, and then threads do scale."
    ),
    "S8": (
        "Fifty coroutines wait at once in one thread; they are no threads, and give way only where they "
        "await. For a file asyncio has no calls of its own: asyncio.to_thread borrows a thread for it. "
        "On the cluster a coroutine function can be a task, and its result can be awaited."
    ),
    "S9": (
        "Two hundred greenlets wait a second each, and all are done after little more than one. gevent "
        "patches what waits, so that plain blocking code gives way. Code that computes, or waits inside a "
        "C library, does not, and holds all the others up."
    ),
}


@dataclass(frozen=True)
class Heard:
    """The output of one side of a row: each line with its time."""

    lines: list[tuple[float, str]]
    seconds: float


def bars(heard: Heard) -> list[Bar]:
    """The timeline that can be read from the output, or one bar if the output has none."""
    found: list[Bar] = []
    lanes: dict[str, str] = {}
    for at, line in heard.lines:
        if pid := re.search(r"^(?:\d \w|count: \d+) pid: (\d+)", line):
            # Printed when a second of work begins.
            lane = lanes.setdefault(pid[1], f"pid {pid[1]}")
            found.append((lane, at, at + 1.0))
        elif line.startswith("接受到值"):
            found.append(("received", at, at + 0.08))
        elif re.match(r"i: \d+$", line):
            found.append(("inside the lock", at, at + 0.1))
        elif took := re.match(r"([\w ]+?): ([\d.]+) s\b", line):
            found.append((took[1], 0.0, float(took[2])))
    return found or [("all", 0.0, heard.seconds)]


def write(reports: list[tour.Report], file: Path) -> None:
    """The tour as one page that loads nothing, or as Markdown with a picture for each row."""
    if file.suffix == ".html":
        file.write_text(pages.page("producer tour", _body(reports)), encoding="utf-8")
        return
    pictures = []
    for report in reports:
        picture = file.with_name(f"{file.stem}-{report.row}.svg")
        picture.write_bytes(charts.single(report.row, _draw(report), {}))
        pictures.append(picture)
    file.write_text("\n".join(_markdown(reports, pictures)) + "\n", encoding="utf-8")


def _became(report: tour.Report) -> str:
    state = "ok" if report.ok else f"FAILED: {report.problem}"
    found = f" {report.found}." if report.found else ""
    return f"Local {report.local_s:.1f} s, cluster {report.cluster_s:.1f} s, {state}.{found}"


def _markdown(reports: list[tour.Report], pictures: list[Path]) -> Iterator[str]:
    yield "# producer tour\n"
    for report, picture in zip(reports, pictures, strict=True):
        yield f"## {report.row}: {report.shows}\n"
        yield f"{EXPLAINED[report.row]}\n"
        yield f"{_became(report)}\n"
        yield f"![{report.row}, local beside cluster]({picture.name})\n"


def _body(reports: list[tour.Report]) -> Iterator[str]:
    yield "<h1>producer tour</h1>"
    yield "<p>The tutorial's rows, each as it ran locally and on the cluster.</p>"
    rows = {row.name: row for row in tour.ROWS}
    for report in reports:
        row = rows[report.row]
        yield f"<h2>{escape(report.row)}: {escape(report.shows)}</h2>"
        yield f"<p>{escape(EXPLAINED[report.row])}</p>"
        yield f"<p>{escape(_became(report))}</p>"
        caption = f"{report.row}, local beside cluster"
        yield pages.chart(report.row, caption, charts.svg(report.row, _draw(report), {}))
        code = (tour.FOLDER / row.script).read_text(encoding="utf-8")
        yield f"<details open><summary>{escape(row.script)}</summary><pre>{escape(code)}</pre></details>"


def _draw(report: tour.Report) -> Any:
    def draw(figure: Any, _: Any) -> None:
        sides = {
            "local": (report.local, report.local_s),
            "cluster": (report.cluster, report.cluster_s),
        }
        left, right = figure.subplots(1, 2, sharex=True)
        for ax, (name, (lines, seconds)), colour in zip(
            (left, right), sides.items(), ("#E69F00", "#2277CC"), strict=True
        ):
            spans = bars(Heard(lines, seconds))
            start = min((began for _, began, _ in spans), default=0.0)
            lanes = list(dict.fromkeys(lane for lane, *_ in spans))[:_MOST_LANES]
            for lane, began, ended in spans:
                if lane in lanes:
                    ax.broken_barh(
                        [(began - start, ended - began)],
                        (lanes.index(lane) - 0.4, 0.8),
                        facecolor=colour,
                        edgecolor=charts.TEXT,
                        linewidth=0.5,
                    )
            ax.set_yticks(range(len(lanes)), lanes, fontsize=7)
            ax.set_ylim(len(lanes) - 0.4, -0.6)
            ax.set_title(name, fontsize=9, loc="left")
            ax.set_xlabel("seconds")
            ax.grid(visible=False, axis="y")

    return draw

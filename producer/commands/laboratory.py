"""``producer tour`` and ``compare``: the tutorial's rows, and which pool suits a task."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands import FAILED, Json
from producer.printing import Sheet, console, print_json, say

if TYPE_CHECKING:
    from producer.laboratory.comparing import Say

TourReport = Annotated[
    Path | None,
    typer.Option(
        help="Write timelines and explanations as an .html page, or as .md with pictures."
    ),
]


app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Run the tutorial's rows, local beside cluster.",
    epilog="""Examples:

  producer tour

  producer tour --row S3 --row S4

  producer tour --json | jq '.[] | select(.ok | not)'

  producer tour --report tour.html
""",
)
def tour(
    row: Annotated[list[str] | None, typer.Option(help="Only this row; may be repeated.")] = None,
    report: TourReport = None,
    json: Json = False,
) -> None:
    """Run the tutorial's rows, locally and on the cluster, side by side."""
    import os

    # The table is the output here; what the tasks print would stand between its lines.
    os.environ.setdefault("OUTPUT", "off")
    from rich.console import Console

    from producer import tour as rows
    from shared.broker.connections import foreseen, store

    chosen = rows.choose(row or [])
    _check_tour_report(report)
    with foreseen():
        store().ping()
    reports = []
    progress = Console(stderr=True)
    for number, one in enumerate(chosen, 1):
        with progress.status(f"{one.name} ({number} of {len(chosen)}): {one.shows}"):
            reports.append(rows.run(one, timed=report is not None))
        if not progress.is_terminal:
            say(f"{one.name} {'ok' if reports[-1].ok else 'FAILED'}")
    if json:
        print_json([report.as_dict() for report in reports])
    else:
        console().print(_tour_table(reports))
    for done in reports:
        if done.problem:
            # The whole of it stands in --json.
            problem = " ".join(done.problem.split())
            say(f"{done.row}: {problem if len(problem) <= 200 else problem[:197] + '...'}")
    _write_tour_report(reports, report)
    if not all(done.ok for done in reports):
        raise typer.Exit(FAILED)


@app.command(
    short_help="Find the pool and size for a task.",
    epilog="""Examples:

  producer stack -- producer compare cpu

  producer compare io --report io.html

  producer compare mymodule:resize --items pictures.jsonl --args '[800, 600]'

  producer compare sleep --on serial,threads,gevent-pool --concurrency 4,16,100 --json -
""",
)
def compare(
    task: Annotated[
        str,
        typer.Argument(help="cpu, numeric, io, file, mixed, sleep, or your own module:function."),
    ],
    items: Annotated[
        str,
        typer.Option(
            help="How many, a range (5..20), or a file of JSON lines; an array is several arguments."
        ),
    ] = "",
    args: Annotated[
        str, typer.Option(help="More arguments after each item's own, as a JSON array.")
    ] = "[]",
    on: Annotated[
        str,
        typer.Option(
            help="Executors: serial, process, thread, asyncio, gevent; on the cluster prefork, threads, gevent-pool.",
        ),
    ] = "",
    concurrency: Annotated[
        str,
        typer.Option(help="How many at once, such as 1,2,8; by default until it gains nothing."),
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that one size of one executor may take.")
    ] = 60.0,
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Write it as .html, .md, .svg or .png; may be repeated."),
    ] = None,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the figures as JSON; - prints them.")
    ] = None,
) -> None:
    """Run a task in every executor, show what each does, and say which pool to choose."""
    import os

    # What the tasks print would stand between the lines here.
    os.environ["OUTPUT"] = "off"
    from rich.console import Console

    from producer.arguments import WrongUsage
    from producer.laboratory import advice, executors, showing
    from producer.laboratory.comparing import Comparison
    from producer.laboratory.tasks import load_task
    from shared.broker.connections import foreseen, store

    chosen, sizes = executors.choose(on), executors.sizes(concurrency)
    loaded = load_task(task, items, args)
    _check_reports(report or [])
    if json is not None and json != "-" and not Path(json).parent.is_dir():
        raise WrongUsage(f"--json {json!r}: there is no folder {str(Path(json).parent)!r}")
    with foreseen():
        store().ping()
    comparison = Comparison(loaded, chosen, sizes=sizes, rounds=rounds, within_s=timeout)
    with _progress(Console(stderr=True)) as shown:
        comparison.run(shown)
    found = finish(comparison)
    if json == "-":
        print_json(found)
    else:
        showing.show(found, console())
    if json not in (None, "-"):
        from json import dumps

        Path(str(json)).write_text(dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_reports(found, report or [])
    if comparison.interrupted:
        raise KeyboardInterrupt
    if found["recommendation"] is None and advice.why_none(found) != advice.NOT_MEASURED:
        raise typer.Exit(1)


def _check_tour_report(file: Path | None) -> None:
    """Refuse now what could not be written in the end."""
    from producer.arguments import WrongUsage

    if file is not None and file.suffix not in (".html", ".md"):
        raise WrongUsage(f"--report {str(file)!r} should end in .html or .md")
    _check_reports([file] if file else [])


def _write_tour_report(reports: list[Any], file: Path | None) -> None:
    """The tour as a page, where one was asked for."""
    if file is None:
        return
    from producer.laboratory import tours

    tours.write(reports, file)
    say(f"wrote {file}")


def finish(comparison: Any) -> dict[str, Any]:
    """The figures and what follows from them."""
    from producer.laboratory import advice, figures, findings

    found = figures.summarise(comparison)
    found["findings"] = findings.findings(comparison, found)
    found["recommendation"] = advice.recommend(found, findings.growth_bytes(comparison))
    return found


def _check_reports(files: list[Path]) -> None:
    """Refuse now what could not be written after minutes of measuring."""
    from producer.arguments import WrongUsage
    from producer.laboratory import charts

    for file in files:
        if file.suffix not in charts.SUFFIXES:
            raise WrongUsage(f"--report {str(file)!r} should end in {', '.join(charts.SUFFIXES)}")
        if not file.parent.is_dir():
            raise WrongUsage(f"--report {str(file)!r}: there is no folder {str(file.parent)!r}")
    if files:
        charts.check_installed()


def _write_reports(found: dict[str, Any], files: list[Path]) -> None:
    from producer.laboratory import pages

    for file in files:
        for written in pages.write(found, file):
            say(f"wrote {written}")


@contextmanager
def _progress(console: Any) -> "Iterator[Say]":
    """A bar on a terminal, a line for each stage elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    line = bar.add_task("", left="")
    told = ""

    def show(what: str, done: int, total: int, left_s: float | None) -> None:
        nonlocal told
        left = f"about {left_s:.0f} s left" if left_s is not None else ""
        bar.update(line, description=what, completed=done, total=total, left=left)
        stage = what.partition(":")[0].partition(" × ")[0]
        if not console.is_terminal and stage != told:
            told = stage
            say(f"{stage}{', ' if left else ''}{left}")

    with bar:
        yield show


def _tour_table(reports: list[Any]) -> Any:
    titles = ("row", "what it shows, what to learn from it", "local", "cluster", "pids", "ok")
    rows = [
        (
            report.row,
            "\n".join(filter(None, (report.shows, report.lesson, report.found))),
            f"{report.local_s:.1f} s",
            f"{report.cluster_s:.1f} s",
            report.pids,
            "ok" if report.ok else "FAILED",
        )
        for report in reports
    ]
    return Sheet(titles, rows, right=(2, 3, 4), show_lines=True)

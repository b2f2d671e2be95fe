"""Writes the results of a run for people (a table, Markdown, a chart) and programs (JSON)."""

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import chapters, charts, limits, machines
from bench.figures import Results, Sample
from bench.measures import MEASURES
from bench.systems import BEFORE, OURS, SYSTEMS
from bench.tables import Rows, cell, dashes_only, ratio_cell
from bench.tables import markdown as markdown_table


class NoReport(Exception):
    """Raised when a file is not a report that `write` wrote."""


def write(folder: Path, results: Results, about: dict[str, Any]) -> None:
    """Write ``bench.json``, ``bench.md`` and ``bench.svg`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {**about, "samples": [asdict(sample) for sample in results.samples]}
    (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(markdown(results, about), encoding="utf-8")
    (folder / "bench.svg").write_text(charts.ratios(results, OURS), encoding="utf-8")


def read(path: Path) -> tuple[Results, dict[str, Any]]:
    """Return the content of a ``bench.json``. Raises `NoReport` if the file is anything else."""
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = Results([Sample(**sample) for sample in about.pop("samples")])
        markdown(found, about)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NoReport(f"{path} is not a bench.json") from error
    return found, about


def markdown(results: Results, about: dict[str, Any]) -> str:
    """Return the whole report as Markdown."""
    lines = [
        "# Speed",
        "",
        f"`{about['command']}`, {about['date']}: {about['rounds']} rounds on "
        f"{machines.describe(about['machine'])}",
        "",
        "## Figures",
        "",
        "Each figure is the median of the rounds, ± half the range from minimum to maximum. "
        "A figure without ± is from one round. A dash: the system has no such form, or failed "
        "(below).",
        "",
        *markdown_table(figures(results)),
    ]
    if compares(results):
        lines += [
            "",
            f"## How many times better {OURS} is",
            "",
            "The median of the ratios of each round, and their range. Below 1 the other is "
            "better. **Bold**: all rounds agree.",
            "",
            *markdown_table(ratios(results)),
            "",
            "## Who is ahead of it",
            "",
            *winners(results),
        ]
    lines += _growth(results) + _limits(results) + _maps(results)
    lines += [
        "",
        "## What is compared",
        "",
        *markdown_table(
            [
                ["system", "a task whose worker is killed", "set up as", "versions"],
                *(_described(name, about["versions"].get(name, {})) for name in results.systems),
            ]
        ),
    ]
    if about["failures"]:
        lines += ["", "## What failed", "", *(f"- {failure}" for failure in about["failures"])]
    return "\n".join(lines) + "\n"


def compares(results: Results) -> bool:
    """True if Day Six was measured together with another system."""
    return OURS in results.systems and len(results.systems) > 1


def _growth(results: Results) -> list[str]:
    if not chapters.lengths(results):
        return []
    return [
        "",
        "## As the queue grows",
        "",
        "The queue is filled in one bulk; then one worker with 10 threads drains a part of it. "
        "The client's memory is its peak. The worker's memory is measured after that part; shared "
        "memory counts once. Only Day Six is measured with more than 100,000 queued tasks, because "
        "the other systems take minutes to fill such a queue.",
        "",
        *markdown_table(chapters.growing(results)),
        "",
        *(line for text in chapters.whole(results) for line in (text, "")),
        "The longest queue divided by the shortest; 1 means no change:",
        "",
        *markdown_table(chapters.steadiness(results)),
    ]


def _limits(results: Results) -> list[str]:
    rows = chapters.beside_redis(results)
    if len(rows) == 1:
        return []
    return [
        "",
        "## Beside Redis itself",
        "",
        f"The commands that {OURS} sends to Redis were recorded. A loop that does nothing else "
        "sent them again to an empty Redis, over one connection: first one by one, then "
        f"{limits.AT_ONCE} in each round trip. The commands with which clients read results are "
        "left out. "
        + (
            "`redis-benchmark` pushes messages of the same size, also over one connection."
            if "`redis-benchmark`" in " ".join(rows[0])
            else "`redis-benchmark` was not measured: it is not on the PATH."
        ),
        "",
        *markdown_table(rows),
        "",
        *chapters.reached(results),
    ]


def _maps(results: Results) -> list[str]:
    rows = chapters.beside_multiprocessing(results)
    if len(rows) == 1:
        return []
    return [
        "",
        "## Beside `multiprocessing`",
        "",
        f"The same map ran alternately on a prefork worker of {OURS} with two processes and on a "
        "local pool of two. The figure is the median of the ratios.",
        "",
        *markdown_table(rows),
    ]


def figures(results: Results) -> Rows:
    """Return a header, and a row for each measure with a column for each system."""
    rows = [["", "unit", *results.systems]]
    for measure in MEASURES:
        cells = [cell(results.of(system, measure)) for system in results.systems]
        if not dashes_only(cells):
            rows.append([measure.title, measure.unit, *cells])
    return rows


def ratios(results: Results) -> Rows:
    """Return a header, and a row for each measure with the ratio to each other system."""
    others = [name for name in results.systems if name != OURS]
    rows = [["", *others]]
    for measure in MEASURES:
        cells = [ratio_cell(results.ratio(measure, OURS, name)) for name in others]
        if not dashes_only(cells):
            rows.append([measure.title, *cells])
    return rows


def winners(results: Results) -> list[str]:
    """Return a line for each other system: the measures in which it is ahead or level."""
    lines = []
    for name in results.systems:
        if name == OURS:
            continue
        compared = [*MEASURES, *chapters.longest_measures(results, name)]
        said = {
            verdict: [m.title for m in compared if results.verdict(m, OURS, name) == verdict]
            for verdict in ("theirs", "level")
        }
        line = f"- **{name}**: " + ("; ".join(said["theirs"]) or "in nothing")
        if said["level"]:
            line += ". Too close to tell: " + "; ".join(said["level"])
        lines.append(line + ".")
    return lines


def _described(name: str, versions: dict[str, str]) -> list[str]:
    # A report does not record the path of the other checkout.
    before = dataclasses.replace(SYSTEMS[OURS], setup="as in another checkout")
    system = {BEFORE: before, **SYSTEMS}[name]
    forms = "; ".join(f"for {form}: {what}" for form, what in system.forms)
    return [
        name,
        system.durability,
        "; ".join(filter(None, [system.setup, forms])),
        ", ".join(f"{package} {version}" for package, version in versions.items()),
    ]

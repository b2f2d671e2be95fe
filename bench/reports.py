"""What a run found, for people (a table, Markdown, a chart) and for programs (JSON)."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import charts
from bench.figures import Results, Sample, Summary
from bench.measures import MEASURES, Measure
from bench.systems import OURS, SYSTEMS

Rows = list[list[str]]


def write(folder: Path, results: Results, about: dict[str, Any]) -> None:
    """Write ``bench.json``, ``bench.md`` and ``bench.svg`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {**about, "samples": [asdict(sample) for sample in results.samples]}
    (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(markdown(results, about), encoding="utf-8")
    (folder / "bench.svg").write_text(charts.ratios(results, OURS), encoding="utf-8")


def read(path: Path) -> tuple[Results, dict[str, Any]]:
    """What `write` wrote as JSON."""
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Results([Sample(**sample) for sample in about.pop("samples")]), about


def markdown(results: Results, about: dict[str, Any]) -> str:
    """The whole report."""
    machine = about["machine"]
    lines = [
        "# Speed",
        "",
        f"`{about['command']}`, {about['date']}: {about['rounds']} rounds on {machine['cores']} "
        f"cores ({machine['processor']}), {machine['system']}, Python {machine['python']}, "
        f"{machine['redis']}. Load of the machine at each session, median: "
        f"{machine['load']:.1f}.",
        "",
        "## Figures",
        "",
        "Median of the rounds, and half of what lies between the least and the greatest. "
        "A dash: the system has no such form, or failed (below).",
        "",
        *_table(figures(results)),
    ]
    if OURS in results.systems:
        lines += [
            "",
            f"## How many times better {OURS} is",
            "",
            "The median of the ratios of each round, and their range. Below 1 the other is "
            "better. **Bold**: all rounds agree.",
            "",
            *_table(ratios(results)),
            "",
            "## Who is ahead of it",
            "",
            *winners(results),
        ]
    lines += [
        "",
        "## What is compared",
        "",
        *_table(
            [
                ["system", "a task whose worker is killed", "set up as", "versions"],
                *(_described(name, about["versions"].get(name, {})) for name in results.systems),
            ]
        ),
    ]
    if about["failures"]:
        lines += ["", "## What failed", "", *(f"- {failure}" for failure in about["failures"])]
    return "\n".join(lines) + "\n"


def figures(results: Results) -> Rows:
    """One row for each measure, one column for each system, the header first."""
    rows = [["", "unit", *results.systems]]
    for measure in MEASURES:
        cells = [_cell(results.of(system, measure)) for system in results.systems]
        if any(cell != "–" for cell in cells):
            rows.append([measure.title, measure.unit, *cells])
    return rows


def ratios(results: Results) -> Rows:
    """The same, with ratios."""
    others = [name for name in results.systems if name != OURS]
    rows = [["", *others]]
    for measure in MEASURES:
        cells = [_ratio_cell(results, measure, name) for name in others]
        if any(cell != "–" for cell in cells):
            rows.append([measure.title, *cells])
    return rows


def winners(results: Results) -> list[str]:
    """A line for each other system: in what it is ahead of ours, and in what level."""
    lines = []
    for name in results.systems:
        if name == OURS:
            continue
        said = {
            verdict: [m.title for m in MEASURES if results.verdict(m, OURS, name) == verdict]
            for verdict in ("theirs", "level")
        }
        line = f"- **{name}**: " + ("; ".join(said["theirs"]) or "in nothing")
        if said["level"]:
            line += ". Too close to tell: " + "; ".join(said["level"])
        lines.append(line + ".")
    return lines


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return "–"
    text = number(summary.median)
    return f"{text} ±{summary.spread * 100:.0f} %" if summary.count > 1 else text


def _ratio_cell(results: Results, measure: Measure, name: str) -> str:
    ratio = results.ratio(measure, OURS, name)
    if ratio is None:
        return "–"
    text = number(ratio.median)
    if ratio.count == 1:
        return text
    if results.verdict(measure, OURS, name) != "level":
        text = f"**{text}**"
    return f"{text} ({number(ratio.least)}–{number(ratio.greatest)})"


def _described(name: str, versions: dict[str, str]) -> list[str]:
    system = SYSTEMS[name]
    forms = "; ".join(f"for {form}: {what}" for form, what in system.forms)
    return [
        name,
        system.durability,
        "; ".join(filter(None, [system.setup, forms])),
        ", ".join(f"{package} {version}" for package, version in versions.items()),
    ]


def _table(rows: Rows) -> list[str]:
    header, *rest = rows
    lines = [header, ["---"] * len(header), *rest]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines]

"""Formats figures, and tables in Markdown and on a terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from bench.figures import Summary

# The first row is the header.
Rows = list[list[str]]
NONE = "–"


def number(value: float) -> str:
    """Return a number with about three significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(summary: Summary | None) -> str:
    """Return a median and the spread of the rounds."""
    if summary is None:
        return NONE
    text = number(summary.median)
    return f"{text} ±{summary.spread * 100:.0f} %" if summary.count > 1 else text


def ratio_cell(ratio: Summary | None) -> str:
    """Return a ratio and its range, in bold if all rounds agree which system is ahead."""
    if ratio is None:
        return NONE
    text = number(ratio.median)
    if ratio.count == 1:
        return text
    if ratio.least > 1 or ratio.greatest < 1:
        text = f"**{text}**"
    return f"{text} ({number(ratio.least)}–{number(ratio.greatest)})"


def markdown(rows: Rows) -> list[str]:
    """Return the lines of a table in Markdown."""
    header, *rest = rows
    lines = [header, ["---"] * len(header), *rest]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in lines]


def show(console: Console, title: str, rows: Rows) -> None:
    """Print a table on a terminal, as wide as the table needs."""
    header, *rest = rows
    table = Table(*map(plain, header), title=title or None, title_justify="left")
    for row in rest:
        table.add_row(*map(plain, row))
    wide = Console(file=console.file, width=max(console.width, 40 + 16 * len(header)))
    wide.print(table)


def plain(text: str) -> str:
    """Return text without its Markdown marks."""
    return text.replace("**", "").replace("`", "")


def dashes_only(cells: Iterable[str]) -> bool:
    """True if a row has no figures."""
    return all(text == NONE for text in cells)

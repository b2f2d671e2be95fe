"""The report as a file: one page that needs no network, or Markdown, or a picture."""

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from producer.laboratory import charts, showing
from producer.laboratory.advice import why_none
from producer.laboratory.laws import Figures

# The page's policy forbids all requests, whatever its contents are.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1b1b; --faint: #d5d5d5; --box: #f4f4f2; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #e8e6e3; --faint: #43474d; --box: #22262b; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.answer { background: var(--box); border-left: 4px solid #2277cc; padding: .5rem 1rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, sans-serif !important; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--faint); padding: .2rem .5rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--box); padding: .7rem; overflow-x: auto; font-size: .85rem; }
@media print {
  :root { --back: #fff; --text: #000; --faint: #ccc; --box: #f4f4f2; }
  body { max-width: none; padding: 0; } figure, pre, table { break-inside: avoid; }
  pre { white-space: pre-wrap; } .scroll { overflow: visible; }
}
"""


def write(report: Figures, file: Path) -> list[Path]:
    """Write the report in the format of the file's extension. Returns the written files."""
    if file.suffix == ".html":
        file.write_text(html(report), encoding="utf-8")
        return [file]
    if file.suffix in (".svg", ".png"):
        file.write_bytes(charts.picture(report, file.suffix[1:]))
        return [file]
    pictures = []
    for name, (draw, _) in charts.CHARTS.items():
        picture = file.with_name(f"{file.stem}-{name}.svg")
        picture.write_bytes(charts.single(name, draw, report))
        pictures.append(picture)
    file.write_text(markdown(report, pictures), encoding="utf-8")
    return [file, *pictures]


def page(title: str, body: Iterable[str]) -> str:
    """A page that loads nothing from the network."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def chart(name: str, caption: str, picture: str) -> str:
    """A picture with its caption, and a text for screen readers."""
    picture = picture.replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
    return f'<figure id="{name}"><figcaption>{escape(caption)}</figcaption>{picture}</figure>'


def html(report: Figures) -> str:
    """The whole report as one page."""
    return page(f"producer compare {report['task']}", _body(report))


def _body(report: Figures) -> Iterator[str]:
    yield f"<h1>producer compare {escape(report['task'])}</h1>"
    yield f"<p>{escape(showing.heading(report))}</p>"
    advice = report.get("recommendation")
    yield '<div class="answer">'
    if advice:
        yield f"<p><strong>Recommended: {escape(showing.summary(advice))}</strong></p>"
        yield f"<p>Because it {escape(advice['reason'])}.</p>"
        yield f"<p>How sure: {escape(advice['confidence'])}, {escape(advice['confidence_text'])}.</p>"
    else:
        yield f"<p>No recommendation: {escape(why_none(report))}.</p>"
    if report["interrupted"]:
        yield "<p>Interrupted: these are the figures so far.</p>"
    yield "</div>"
    said = [*report["findings"], *report["notes"], *showing.left_out(report)]
    if said:
        yield "<h2>What else was found</h2><ul>"
        yield from (f"<li>{escape(line)}</li>" for line in said)
        yield "</ul>"
    yield '<h2>Charts</h2><div class="charts">'
    if charts.best_cells(report):
        for name, (draw, caption) in charts.CHARTS.items():
            yield chart(name, caption, charts.svg(name, draw, report))
    yield "</div>"
    if advice:
        yield "<h2>Why the curve flattens</h2><ul>"
        yield from (f"<li>{escape(law)}</li>" for law in advice["laws"])
        yield "</ul><h2>To have it so</h2>"
        yield f"<pre>{escape(advice['command'])}</pre><pre>{escape(advice['compose'])}</pre>"
    yield "<h2>All figures</h2>"
    for columns in (showing.SPEED, showing.COST):
        yield '<div class="scroll"><table><thead><tr>'
        yield "".join(f"<th>{escape(title)}</th>" for title in columns)
        yield "</tr></thead><tbody>"
        for cell in report["cells"]:
            if cell["rates"]:
                cells = "".join(f"<td>{escape(show(cell))}</td>" for show in columns.values())
                yield f"<tr>{cells}</tr>"
        yield "</tbody></table></div>"


def markdown(report: Figures, pictures: list[Path]) -> str:
    """The whole report as Markdown, its charts in files beside it."""
    return "\n".join(_lines(report, pictures)) + "\n"


def _lines(report: Figures, pictures: list[Path]) -> Iterator[str]:
    yield f"# producer compare {report['task']}\n"
    yield f"{showing.heading(report)}\n"
    advice = report.get("recommendation")
    if advice:
        yield f"**Recommended: {showing.summary(advice)}**\n"
        yield f"Because it {advice['reason']}. How sure: {advice['confidence']}, {advice['confidence_text']}.\n"
    for line in [*report["findings"], *report["notes"], *showing.left_out(report)]:
        yield f"- {line}"
    yield ""
    for picture, (_, caption) in zip(pictures, charts.CHARTS.values(), strict=True):
        yield f"![{caption}]({picture.name})\n"
    if advice:
        yield from (f"- {law}" for law in advice["laws"])
        yield f"\n    {advice['command']}\n"
        yield f"```yaml\n{advice['compose']}```\n"
    for columns in (showing.SPEED, showing.COST):
        yield f"| {' | '.join(columns)} |"
        yield f"| --- |{' ---: |' * (len(columns) - 1)}"
        for cell in report["cells"]:
            if cell["rates"]:
                yield f"| {' | '.join(show(cell) for show in columns.values())} |"
        yield ""

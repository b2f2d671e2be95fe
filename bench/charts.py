"""A chart of the ratios between our figures and those of the other systems, on a log scale."""

import math
from xml.sax.saxutils import escape

from bench.figures import Results
from bench.measures import MEASURES

SHOWN = (
    "enqueue enqueue_bulk drain_threads drain_processes drain_greenlets call_p50 gather commands"
).split()
WIDTH, LEFT, RIGHT = 900, 260, 60
BAR, GAP, TITLE, HEAD = 12, 14, 18, 64
COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#222222")


def ratios(results: Results, ours: str) -> str:
    """Return the chart as SVG."""
    others = [name for name in results.systems if name != ours]
    groups = []
    for measure in (measure for measure in MEASURES if measure.key in SHOWN):
        found = [(name, results.ratio(measure, ours, name)) for name in others]
        bars = [(name, ratio) for name, ratio in found if ratio is not None]
        if bars:
            groups.append((measure, bars))
    values = [
        value for _, bars in groups for _, ratio in bars for value in (ratio.least, ratio.greatest)
    ]
    low = math.floor(math.log2(min([*values, 1])))
    high = math.ceil(math.log2(max([*values, 2])))

    def x(ratio: float) -> float:
        return LEFT + (math.log2(ratio) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    height = HEAD + sum(TITLE + GAP + BAR * len(bars) for _, bars in groups) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-size="15">How many times better {escape(ours)} is '
        "(median; the line spans all rounds)</text>",
    ]
    for power in range(low, high + 1):
        at, one = x(2.0**power), power == 0
        lines.append(
            f'<line x1="{at:.1f}" y1="{HEAD - 14}" x2="{at:.1f}" y2="{height - 6}" '
            f'stroke="{"black" if one else "#dddddd"}"/>'
            f'<text x="{at:.1f}" y="{HEAD - 20}" text-anchor="middle">{2.0**power:g}×</text>'
        )
    top = HEAD
    for measure, bars in groups:
        top += TITLE
        lines.append(
            f'<text x="10" y="{top - 4}" font-weight="bold">{escape(measure.title)}</text>'
        )
        for name, ratio in bars:
            colour = COLOURS[others.index(name) % len(COLOURS)]
            start, end = sorted((x(1), x(ratio.median)))
            middle = top + BAR / 2
            lines.append(
                f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>'
                f'<rect x="{start:.1f}" y="{top + 1}" width="{max(end - start, 1):.1f}" '
                f'height="{BAR - 2}" fill="{colour}"/>'
                f'<line x1="{x(ratio.least):.1f}" y1="{middle}" x2="{x(ratio.greatest):.1f}" '
                f'y2="{middle}" stroke="black"/>'
                f'<text x="{max(x(ratio.greatest), end) + 6:.1f}" y="{middle + 4}">'
                f"{ratio.median:.1f}×</text>"
            )
            top += BAR
        top += GAP
    return "\n".join([*lines, "</svg>"]) + "\n"

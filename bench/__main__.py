"""``python -m bench``: compare this project's speed with that of other queues."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import chapters, environments, machines, measures, reports
from bench.arguments import positive, some
from bench.commands import end_with, prepare
from bench.figures import Results
from bench.rounds import OURS_ALONE, PARTS, order
from bench.running import run
from bench.systems import BEFORE, OURS, SYSTEMS, add_checkout
from bench.tables import plain, show

SCALES = {"full": measures.FULL, "quick": measures.QUICK, "tiny": measures.TINY}


def main() -> int:
    """Measure, print and write. Returns 1 if a system failed, 130 after Ctrl-C."""
    arguments = _parse()
    console = Console(stderr=True)
    if arguments.report:
        results, read = reports.read(arguments.report)
        reports.write(arguments.out, results, read)
        _print(results)
        return 0
    if arguments.against:
        add_checkout(arguments.against.resolve())
        arguments.systems.append(BEFORE)
    prepare(arguments.out)
    scale = SCALES[arguments.scale]
    rounds = arguments.rounds or scale.rounds
    about: dict[str, Any] = {
        "command": _command(sys.argv[1:]),
        "rounds": rounds,
        **machines.circumstances(),
        "versions": {
            name: environments.versions(SYSTEMS[name].python()) for name in arguments.systems
        },
    }
    sessions = order(arguments.systems, rounds, arguments.parts, {"growth": scale.rounds_growth})
    sessions = (one for one in sessions if one[1] not in OURS_ALONE or SYSTEMS[one[2]].is_ours)
    found = run(sessions, SYSTEMS, PARTS, scale, console)
    about["failures"] = found.failures
    about["machine"]["load"] = found.load
    results = Results(found.samples)
    reports.write(arguments.out, results, about)
    _print(results)
    console.print(f"written: {arguments.out}/bench.md, bench.json, bench.svg")
    return found.status


def _command(given: list[str]) -> str:
    """Return the command that repeats this run."""
    if given == ["--made"]:
        return "make bench"
    if given == ["--made", "--scale", "quick"]:
        return "make bench QUICK=1"
    return shlex.join(["python", "-m", "bench", *(word for word in given if word != "--made")])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--scale", choices=SCALES, default="full", help="quick: about five minutes (%(default)s)"
    )
    parser.add_argument("--rounds", type=positive, help="how often each is measured")
    parser.add_argument(
        "--systems",
        type=some(list(SYSTEMS)),
        default=list(SYSTEMS),
        help=f"comma-separated, of {', '.join(SYSTEMS)}",
    )
    parser.add_argument(
        "--parts",
        type=some(list(PARTS)),
        default=list(PARTS),
        help=f"comma-separated, of {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--against", type=_checkout, help="also compare with Day Six in this other checkout"
    )
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="folder (%(default)s)")
    parser.add_argument("--report", type=Path, help="report this bench.json without measuring")
    parser.add_argument("--made", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _checkout(text: str) -> Path:
    if not Path(text, "bench", "driver.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not a checkout that contains bench/")
    return Path(text)


def _print(results: Results) -> None:
    console = Console()
    tables = [("", reports.figures(results))]
    if reports.compares(results):
        tables.append((f"how many times better {OURS} is", reports.ratios(results)))
    tables.append(("as the queue grows", chapters.growing(results)))
    tables.append(("the longest queue beside the shortest", chapters.steadiness(results)))
    tables.append(("beside Redis itself", chapters.beside_redis(results)))
    tables.append(("beside multiprocessing", chapters.beside_multiprocessing(results)))
    for title, rows in tables:
        if len(rows) > 1:
            show(console, title, rows)
    lines = []
    if reports.compares(results):
        lines = [f"Who is ahead of {OURS}:", *reports.winners(results)]
    for line in chapters.whole(results) + chapters.reached(results) + lines:
        console.print(plain(line), highlight=False)


if __name__ == "__main__":
    end_with(main)

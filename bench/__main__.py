"""``python -m bench``: this project's speed beside that of other queues."""

import argparse
import datetime
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import environments, measures, reports
from bench.figures import Results, Sample
from bench.sessions import Failed
from bench.systems import BEFORE, OURS, SYSTEMS, add_checkout
from producer.stack import StackFailed, _redis_server

SCALES = {"full": measures.FULL, "quick": measures.QUICK, "tiny": measures.TINY}


def main() -> int:
    """Measure, print and write; 1 if a system failed."""
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
    scale = SCALES[arguments.scale]
    rounds = arguments.rounds or scale.rounds
    parts = measures.parts()
    about: dict[str, Any] = {
        "command": "make bench"
        if arguments.made
        else shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "rounds": rounds,
        "machine": _machine(),
        "failures": [],
    }
    about["versions"] = {
        name: environments.versions(SYSTEMS[name].python()) for name in arguments.systems
    }
    samples: list[Sample] = []
    loads = []
    try:
        for number, part, name in measures.order(arguments.systems, rounds, arguments.parts):
            loads.append(os.getloadavg()[0])
            started = time.monotonic()
            try:
                for key, value in parts[part](SYSTEMS[name], scale):
                    samples.append(Sample(name, key, number, value))
                said = f"{time.monotonic() - started:.0f} s"
            except Failed as failure:
                said = f"failed: {failure}"
                about["failures"].append(f"{name}, {part}, round {number + 1}: {failure}")
            console.print(f"round {number + 1}/{rounds}  {part}  {name}  {said}", highlight=False)
    except KeyboardInterrupt:
        console.print("interrupted; what was measured so far:")
    if not samples:
        return 1
    about["machine"]["load"] = statistics.median(loads)
    results = Results(samples)
    reports.write(arguments.out, results, about)
    _print(results)
    console.print(f"written: {arguments.out}/bench.md, bench.json, bench.svg")
    return int(bool(about["failures"]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--scale", choices=SCALES, default="full", help="quick: about five minutes (%(default)s)"
    )
    parser.add_argument("--rounds", type=_positive, help="how often each is measured")
    parser.add_argument(
        "--systems",
        type=_some(list(SYSTEMS)),
        default=list(SYSTEMS),
        help=f"comma-separated, of {', '.join(SYSTEMS)}",
    )
    parser.add_argument(
        "--parts",
        type=_some(list(measures.parts())),
        default=list(measures.parts()),
        help=f"comma-separated, of {', '.join(measures.parts())}",
    )
    parser.add_argument(
        "--against", type=_checkout, help="compare ours with itself in that other checkout too"
    )
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="folder (%(default)s)")
    parser.add_argument("--report", type=Path, help="measure nothing, report that bench.json")
    parser.add_argument("--made", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _checkout(text: str) -> Path:
    if not Path(text, "bench", "driver.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no checkout that has bench/")
    return Path(text)


def _some(known: list[str]) -> Any:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    version = subprocess.run(
        [_redis_server(), "--version"], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis": " ".join(version[:1] + [word for word in version if word.startswith("v=")]),
        "load": 0.0,
    }


def _print(results: Results) -> None:
    console = Console()
    wide = Console(width=max(console.width, 40 + 16 * len(results.systems)))
    tables = [("", reports.figures(results))]
    if OURS in results.systems and len(results.systems) > 1:
        tables.append((f"how many times better {OURS} is", reports.ratios(results)))
    for title, (header, *rows) in tables:
        table = Table(*header, title=title or None, title_justify="left")
        for row in rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        wide.print(table)
    for line in reports.winners(results) if OURS in results.systems else ():
        console.print(line.replace("**", ""), highlight=False)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (environments.SetUpFailed, StackFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)

"""Throughput with 1, 2, 4 and 8 workers: ``python -m bench.workers``.

The workers are processes of this machine with 10 threads each, on one Redis. With
``--containers`` they are containers of the service `threads` in docker-compose.yml; build the
image first with ``docker compose build``. The table names the limit: the cores, Redis, or the
number of workers.
"""

import argparse
import functools
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import machines
from bench.arguments import positive, some
from bench.commands import end_with, prepare
from bench.figures import Results
from bench.measures import FULL, QUICK, TINY, Figures, Scale
from bench.places import THREADS, Containers, Processes
from bench.rounds import Part, order
from bench.running import run
from bench.scaling import LOADS, SIZES, Load, Place, measured, rows
from bench.systems import OURS, SYSTEMS, System
from bench.tables import markdown, show

SCALES = {"full": FULL, "quick": QUICK, "tiny": TINY}
# Shares of the number of tasks in a full run.
SHARES = {"full": 1.0, "quick": 0.25, "tiny": 0.01}


def parts(loads: list[str], sizes: list[int], share: float, image: str | None) -> dict[str, Part]:
    """Return a part for each task and number of workers."""

    def part(load: Load, workers: int, system: System, scale: Scale) -> Figures:
        place: AbstractContextManager[Place] = Containers(image) if image else Processes(system)
        return measured(place, load, workers, share)

    return {
        f"{LOADS[name].title}, {workers} worker{'s'[: workers > 1]}": functools.partial(
            part, LOADS[name], workers
        )
        for name in loads
        for workers in sizes
    }


def report(results: Results, about: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    return "\n".join(_lines(results, about)) + "\n"


def _lines(results: Results, about: dict[str, Any]) -> Iterator[str]:
    machine = about["machine"]
    yield "# Workers"
    yield ""
    yield (
        f"`{about['command']}`, {about['date']}: {about['rounds']} rounds on "
        f"{machines.describe(machine)}"
    )
    yield ""
    yield (
        f"Each worker is {about['where']} with {THREADS} threads; all use one Redis. *Cores* is "
        "the processor time used in each second; *others* are all other processes of the "
        "machine."
    )
    yield ""
    yield from markdown(rows(results, OURS, machine["cores"]))
    if about["failures"]:
        yield from ("", "Failed:", "", *(f"- {failure}" for failure in about["failures"]))


def main() -> int:
    """Measure, print and write. Returns 1 if something failed, 130 after Ctrl-C."""
    arguments = _parse()
    rounds = arguments.rounds or min(3, SCALES[arguments.scale].rounds)
    console = Console(stderr=True)
    prepare(arguments.out)
    about: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "bench.workers", *sys.argv[1:]]),
        "rounds": rounds,
        "where": "a container" if arguments.containers else "a process",
        **machines.circumstances(),
    }
    sizes = [int(size) for size in arguments.sizes]
    image = arguments.image if arguments.containers else None
    found_parts = parts(arguments.tasks, sizes, SHARES[arguments.scale], image)
    sessions = order([OURS], rounds, list(found_parts))
    found = run(sessions, SYSTEMS, found_parts, SCALES[arguments.scale], console)
    about["failures"] = found.failures
    about["machine"]["load"] = found.load
    results = Results(found.samples)
    show(Console(), "", rows(results, OURS, about["machine"]["cores"]))
    (arguments.out / "workers.md").write_text(report(results, about), encoding="utf-8")
    text = json.dumps({**about, "samples": [asdict(one) for one in found.samples]}, indent=1)
    (arguments.out / "workers.json").write_text(text + "\n", encoding="utf-8")
    console.print(f"written: {arguments.out}/workers.md, workers.json")
    return found.status


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="full", help="%(default)s")
    parser.add_argument("--rounds", type=positive, help="how often each is measured")
    parser.add_argument(
        "--tasks",
        type=some(list(LOADS)),
        default=list(LOADS),
        help=f"comma-separated, of {', '.join(LOADS)}",
    )
    known = [str(size) for size in SIZES]
    parser.add_argument(
        "--sizes", type=some(known), default=known, help=f"comma-separated, of {', '.join(known)}"
    )
    parser.add_argument("--containers", action="store_true", help="containers, not processes")
    parser.add_argument("--image", default="day-six:latest", help="their image (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="folder (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    end_with(main)

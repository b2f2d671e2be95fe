"""What each lever is worth: ``python -m bench.levers``, ours beside ours without it.

With and without take turns, in rounds. Levers that pay were kept, and ours without one is a
variant of it; levers that do not are not in it, and the variant has them. What is code rather
than a switch is compared with another checkout: ``python -m bench --systems day-six --against``.
"""

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import machines
from bench.arguments import positive, some
from bench.commands import end_with, prepare
from bench.figures import Results
from bench.measures import FULL, MEASURES, QUICK, TINY, Figures, Scale
from bench.rounds import PARTS, Part
from bench.running import run
from bench.sessions import Session
from bench.systems import OURS, SYSTEMS, System
from bench.tables import Rows, cell, markdown, ratio_cell, show

WITH, WITHOUT = "with", "without"


@dataclass(frozen=True)
class Lever:
    """Something that might make ours faster, and what became of it."""

    variant: str  # of `bench.variants`: ours without it, or with it
    title: str
    part: str
    measures: tuple[str, ...]
    kept: bool
    why: str
    variant_has_it: bool = False


def publish(system: System, scale: Scale) -> Figures:
    """Enqueue, without a worker."""
    with Session(system) as session:
        session.tell("enqueue", count=10)
        for key in ("enqueue", "enqueue_bulk"):
            answer = session.tell(key, count=scale.enqueue)
            yield key, scale.enqueue / answer["seconds"]
            yield f"cpu_{key}", answer["cpu"] / scale.enqueue * 1000


def _drain(form: str) -> tuple[str, tuple[str, ...]]:
    return f"drain {form}", (f"drain_{form}", f"cpu_{form}")


_THREADS, _PROCESSES, _GREENLETS = map(_drain, ("threads", "processes", "greenlets"))
_PUBLISH = "publish"
_CALLS = ("calls", ("call_p50", "gather", "cpu_gather"))

LEVERS = (
    Lever(
        "celerys-publishing",
        "a message prepared once for each task and queue, in place of Celery's `apply_async`",
        _PUBLISH,
        ("enqueue", "cpu_enqueue"),
        kept=True,
        why="the longer way is taken where something asks for it: signals, links, priorities",
    ),
    Lever(
        "push-singly",
        "500 messages in one round trip, in place of one",
        _PUBLISH,
        ("enqueue_bulk", "cpu_enqueue_bulk"),
        kept=True,
        why="`send --count`, pools and executors send so",
    ),
    Lever(
        "kombus-batch",
        "prepared messages in bulk, in place of kombu's `Producer.batch`",
        _PUBLISH,
        ("enqueue_bulk", "cpu_enqueue_bulk"),
        kept=True,
        why="the batch saves round trips; Celery still prepares each message anew",
    ),
    Lever(
        "kombus-transport",
        "our transport, in place of kombu's own",
        *_THREADS,
        kept=True,
        why="several taken and acknowledged in a round trip, and nothing lost between two",
    ),
    Lever(
        "take-singly",
        "several taken in a round trip, in place of one",
        *_THREADS,
        kept=True,
        why="in one step with recording them",
    ),
    Lever(
        "no-more-than-room",
        "some taken ahead of the room for them while tasks are short",
        *_THREADS,
        kept=True,
        why="what the worker begins within a moment, else it goes back: nobody waits for it",
    ),
    Lever(
        "acknowledge-singly",
        "several acknowledged in a round trip, along with the next take, in place of one",
        *_THREADS,
        kept=True,
        why="a worker that is killed then repeats those whose acknowledgement was on its way",
    ),
    Lever(
        "answer-apart",
        "the answers of many calls in one round trip, each with its acknowledgement",
        *_CALLS,
        kept=True,
        why="also for its promise: no call is answered that went to another worker",
    ),
    Lever(
        "celerys-tracer",
        "a tracer for calls, in place of Celery's",
        *_CALLS,
        kept=True,
        why="what Celery's looks after at each task, no call has",
    ),
    Lever(
        "pooled-connections",
        "connections for single commands that cost little to get, in place of redis-py's pool",
        *_CALLS,
        kept=True,
        why="the same checks, a tenth of the code that runs for them",
    ),
    Lever(
        "celerys-threads",
        "threads that take tasks from one queue, in place of Celery's pool with its futures",
        *_THREADS,
        kept=True,
        why="nobody asks for the futures",
    ),
    Lever(
        "events-always",
        "events of tasks only while somebody listens",
        *_THREADS,
        kept=True,
        why="Flower and `producer watch` see tasks from two seconds after their start",
    ),
    Lever(
        "listened",
        "nobody listens to events (Flower closed), beside somebody who does",
        *_THREADS,
        kept=True,
        why="what Flower costs a worker while it is open",
    ),
    Lever(
        "python-parser",
        "hiredis, in place of redis-py's parser in Python",
        *_THREADS,
        kept=True,
        why="less work for each answer that is read, and a wheel for every platform",
    ),
    Lever(
        "python-parser",
        "hiredis, in place of redis-py's parser in Python, calls",
        *_CALLS,
        kept=True,
        why="as above",
    ),
    Lever(
        "backend-for-each",
        "one result backend for all threads and greenlets (`result_backend_thread_safe`)",
        *_GREENLETS,
        kept=True,
        why="without it each greenlet builds one; little, since it runs more than one task",
    ),
    Lever(
        "celerys-greenlets",
        "greenlets that take tasks from one queue, in place of a new one for each task",
        *_GREENLETS,
        kept=True,
        why="a greenlet's start and end cost as much as Celery's tracer",
    ),
    Lever(
        "log-info",
        "no line in the log for each task (WARNING, in place of INFO)",
        *_THREADS,
        kept=False,
        why="Celery's default here; the service logs at INFO, since a log without its tasks helps "
        "nobody: `--loglevel` is the user's",
    ),
    Lever(
        "no-gossip",
        "`--without-gossip --without-heartbeat`",
        *_THREADS,
        kept=False,
        why="costs a message every few seconds, not one a task; Flower needs the heartbeat",
        variant_has_it=True,
    ),
    Lever(
        "prefetch-10",
        "`worker_prefetch_multiplier` 10, in place of 1",
        *_THREADS,
        kept=False,
        why="short tasks are taken ahead anyhow, and long ones would wait while others stand idle",
        variant_has_it=True,
    ),
    Lever(
        "prefetch-10",
        "`worker_prefetch_multiplier` 10, in place of 1, prefork",
        *_PROCESSES,
        kept=False,
        why="as above",
        variant_has_it=True,
    ),
    Lever(
        "fair",
        "`--optimization fair`",
        *_PROCESSES,
        kept=False,
        why="Celery's default for prefork by now: its ratio shows how much is noise",
        variant_has_it=True,
    ),
)

_MEASURES = {measure.key: measure for measure in MEASURES}
SCALES = {
    "full": dataclasses.replace(
        FULL, enqueue=2_000, drain=6_000, calls=300, calls_each=4, gather=1_000, idle_s=0.1
    ),
    "quick": dataclasses.replace(QUICK, drain=2_000, idle_s=0.1),
    "tiny": TINY,
}


def systems(levers: tuple[Lever, ...]) -> dict[str, System]:
    """Each lever's two, by name."""
    found = {}
    for lever in levers:
        for side in (WITH, WITHOUT):
            variant = lever.variant if lever.variant_has_it == (side == WITH) else ""
            name = _name(lever, side)
            found[name] = dataclasses.replace(SYSTEMS[OURS], name=name, variant=variant)
    return found


def order(levers: tuple[Lever, ...], rounds: int) -> Iterator[tuple[int, str, str]]:
    """With and without follow each other, and take turns at being first."""
    for number in range(rounds):
        for lever in levers:
            sides = (WITH, WITHOUT) if number % 2 == 0 else (WITHOUT, WITH)
            for side in sides:
                yield number, lever.part, _name(lever, side)


def rows(results: Results, levers: tuple[Lever, ...] = LEVERS) -> Rows:
    """The table of the levers: a row for each figure that one may change."""
    table = [["lever", "figure", WITHOUT, WITH, "times better", "kept", "why"]]
    for lever in levers:
        said = [lever.title, "yes" if lever.kept else "no", lever.why]
        for key in lever.measures:
            measure = _MEASURES[key]
            sides = _name(lever, WITH), _name(lever, WITHOUT)
            if not any(results.of(side, measure) for side in sides):
                continue
            first, *rest = said
            table.append(
                [
                    first,
                    f"{measure.title}, {measure.unit}",
                    cell(results.of(sides[1], measure)),
                    cell(results.of(sides[0], measure)),
                    ratio_cell(results.ratio(measure, *sides)),
                    *rest,
                ]
            )
            said = ["", "", ""]
    return table


def report(results: Results, about: dict[str, Any]) -> str:
    """All of it in Markdown."""
    return "\n".join(
        [
            "# Levers",
            "",
            f"`{about['command']}`, {about['date']}: {about['rounds']} rounds on "
            f"{machines.describe(about['machine'])}",
            "",
            "The median of the ratios of each round, and their range; above 1 the lever pays. "
            "**Bold**: all rounds agree.",
            "",
            *markdown(rows(results)),
            *(["", "Failed:", ""] if about["failures"] else []),
            *(f"- {failure}" for failure in about["failures"]),
            "",
        ]
    )


def _name(lever: Lever, side: str) -> str:
    return f"{lever.variant}, {lever.part}, {side}"


def main() -> int:
    """Measure, print and write; 1 if something failed, 130 after Ctrl-C."""
    variants = list(dict.fromkeys(lever.variant for lever in LEVERS))
    parser = argparse.ArgumentParser(prog="python -m bench.levers", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="full", help="%(default)s")
    parser.add_argument("--rounds", type=positive, help="how often each is measured")
    parser.add_argument(
        "--only",
        type=some(variants),
        default=variants,
        metavar="LEVERS",
        help=f"comma-separated, of {', '.join(variants)}",
    )
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="folder (%(default)s)")
    arguments = parser.parse_args()
    levers = tuple(lever for lever in LEVERS if lever.variant in arguments.only)
    scale = SCALES[arguments.scale]
    rounds = arguments.rounds or scale.rounds
    console = Console(stderr=True)
    prepare(arguments.out)
    about: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "bench.levers", *sys.argv[1:]]),
        "rounds": rounds,
        **machines.circumstances(),
    }
    parts: dict[str, Part] = {**PARTS, _PUBLISH: publish}
    found = run(order(levers, rounds), systems(levers), parts, scale, console)
    about["failures"] = found.failures
    about["machine"]["load"] = found.load
    results = Results(found.samples)
    show(Console(), "", [row[:6] for row in rows(results)])
    (arguments.out / "levers.md").write_text(report(results, about), encoding="utf-8")
    samples = [asdict(sample) for sample in found.samples]
    text = json.dumps({**about, "samples": samples}, indent=1)
    (arguments.out / "levers.json").write_text(text + "\n", encoding="utf-8")
    console.print(f"written: {arguments.out}/levers.md, levers.json")
    return found.status


if __name__ == "__main__":
    end_with(main)

"""``python -m tests.model``: every order in which the steps of the delivery can happen.

examples:
  python -m tests.model                          all searches
  python -m tests.model --short                  the small ones that the tests run
  python -m tests.model --workers 3 --tasks 2    those with three workers and two tasks
  python -m tests.model --mutants                deliberate mistakes, and the trace to each
  python -m tests.model --trace kombu            how kombu's own way loses a task
  python -m tests.model --trace restart          what waits if Redis loses its last second

Exit 1 on a violation, also one that --trace was asked for, or if a mistake is not found.
"""

import argparse
import sys

from tests.model.kombu import Kombu
from tests.model.search import search
from tests.model.searches import LONG, MUTANTS, RESTART, SHORT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="only the small searches")
    parser.add_argument("--workers", type=int, help="only searches with so many workers")
    parser.add_argument("--tasks", type=int, help="only searches with so many tasks")
    parser.add_argument("--mutants", action="store_true", help="find each deliberate mistake")
    parser.add_argument(
        "--trace",
        choices=["kombu", "restart", *MUTANTS],
        metavar="NAME",
        help="print how this one fails",
    )
    arguments = parser.parse_args()
    if arguments.trace:
        return _print_trace(arguments.trace)
    if arguments.mutants:
        return _find_mutants()
    chosen = [
        one
        for one in (SHORT if arguments.short else LONG)
        if arguments.workers in (None, one.workers) and arguments.tasks in (None, one.tasks)
    ]
    if not chosen:
        parser.error("no search has so many workers and tasks")
    return _run(chosen)


def _run(chosen: list) -> int:
    print(
        f"{'search':<22} {'workers × tasks':<16} {'states':>9} {'depth':>6} {'seconds':>8}  violations"
    )
    wrong = 0
    for one in chosen:
        found = search(one.model())
        size = f"{one.workers} × {one.tasks}"
        print(
            f"{one.name:<22} {size:<16} {found.states:>9,} {found.depth:>6} {found.seconds:>8.1f}"
            f"  {found.violation or 0}",
            flush=True,
        )
        bounds = ", ".join(f"{n} {what}" for what, n in one.faults._asdict().items() if n)
        print(f"  {bounds}", flush=True)
        if found.violation:
            wrong += 1
            # Again with every worker by its own number, so that the trace can be followed.
            _print_steps(search(one.model(symmetry=False)))
    return int(wrong > 0)


def _find_mutants() -> int:
    missed = 0
    for name, (change, one) in MUTANTS.items():
        found = search(one.model(mutant=name))
        missed += not found.violation
        print(f"{name:<40} {change}")
        print(f"  {found.violation or 'NOT FOUND'}, after {len(found.trace)} steps,", end=" ")
        print(f"{found.states:,} states, {found.seconds:.1f} s", flush=True)
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} found")
    return int(missed > 0)


def _print_trace(name: str) -> int:
    if name == "kombu":
        model = Kombu()
    elif name == "restart":
        model = RESTART.model(symmetry=False)
    else:
        model = MUTANTS[name][1].model(symmetry=False, mutant=name)
    found = search(model)
    _print_steps(found)
    return int(bool(found.violation))


def _print_steps(found: object) -> None:
    for at, step in enumerate(found.trace, 1):
        print(f"  {at:>2}. {step}")
    print(f"  → {found.violation or 'nothing is broken'}")


if __name__ == "__main__":
    sys.exit(main())

"""Checks the recommendations of `producer compare`: ``python -m bench.truth``.

The best pool of twelve tasks is known from their code. A recommendation is right if it names that
pool. The table also shows its rate as a share of the best measured rate.
Start it with a stack: TASK_MODULES=bench producer stack -- python -m bench.truth
"""

import argparse
import json
import os
import sys
from typing import Any

os.environ["OUTPUT"] = "off"

from rich.console import Console
from rich.table import Table

from bench.arguments import positive
from bench.commands import end_with
from producer.commands.laboratory import finish
from producer.laboratory.comparing import Comparison
from producer.laboratory.executors import Executor
from producer.laboratory.laws import best_round
from producer.laboratory.tasks import load_task
from shared.pools import PoolKind

PREFORK, THREADS, GEVENT = PoolKind
# The best pools on at least two cores. If two pools are equally fast, both are right.
TRUTH = {
    "computes_all": {PREFORK},
    "computes_nine_tenths": {PREFORK},
    "computes_three_quarters": {PREFORK},
    "computes_half": {PREFORK},
    "computes_a_third": {PREFORK},
    "computes_a_fiftieth": {GEVENT},
    "waits": {GEVENT},
    "waits_long": {GEVENT},
    "waits_in_c": {THREADS},
    "computes_in_c": {PREFORK, THREADS},
    "waits_with_memory": {GEVENT},
    "computes_with_memory": {PREFORK},
}
ON = [Executor.SERIAL, Executor.THREAD, Executor.PREFORK, Executor.THREADS, Executor.GEVENT_POOL]


def judge(name: str, rounds: int) -> dict[str, Any]:
    """Return the recommendation for a task, and its rate compared with the best measured."""
    task = load_task(f"bench.tasks:{name}", "", "[]")
    comparison = Comparison(task, ON, rounds=rounds)
    comparison.run(lambda *_: None)
    if comparison.interrupted:
        raise KeyboardInterrupt
    report = finish(comparison)
    advice = report["recommendation"]
    if advice is None:
        raise SystemExit(f"{name}: no pool was measured")
    measured = [c for c in report["cells"] if c["pool"] and c["rates"]]
    rates = {(c["pool"], c["concurrency"]): round(best_round(c), 1) for c in measured}
    return {
        "task": name,
        "cpu_share": report["work"]["cpu_share"],
        "truth": sorted(kind.value for kind in TRUTH[name]),
        "recommended": advice["pool"],
        "concurrency": advice["concurrency"],
        "confidence": advice["confidence"],
        "of_best": rates[advice["pool"], advice["concurrency"]] / max(rates.values()),
        "right": PoolKind(advice["pool"]) in TRUTH[name],
        "seconds": report["seconds"],
        "rates": {f"{pool} × {size}": rate for (pool, size), rate in rates.items()},
    }


def _known(name: str) -> str:
    if name not in TRUTH:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(TRUTH)}")
    return name


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.truth", description=__doc__)
    parser.add_argument(
        "tasks", nargs="*", default=list(TRUTH), type=_known, help="by default all twelve"
    )
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of each (%(default)s)")
    parser.add_argument(
        "--repeat", type=positive, default=1, help="times each is compared (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    results = []
    for name in arguments.tasks:
        for _ in range(arguments.repeat):
            results.append(judge(name, arguments.rounds))
            one = results[-1]
            print(
                f"{name}: {one['recommended']} × {one['concurrency']}, {one['confidence']}, "
                f"{one['of_best']:.0%} of the best, {'right' if one['right'] else 'WRONG'}",
                file=sys.stderr,
                flush=True,
            )
    if arguments.json:
        print(json.dumps(results, indent=2))
        return 0
    table = Table("task", "computes", "truth", "recommended", "of the best", "right")
    for one in results:
        table.add_row(
            one["task"],
            f"{one['cpu_share']:.0%}",
            " or ".join(one["truth"]),
            f"{one['recommended']} × {one['concurrency']}",
            f"{one['of_best']:.0%}",
            "yes" if one["right"] else "NO",
        )
    Console().print(table)
    print(f"{sum(one['right'] for one in results)} of {len(results)} right")
    return 0


if __name__ == "__main__":
    end_with(main)

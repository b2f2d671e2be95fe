"""``python -m tests.chaos``: kill things, and account for every task."""

import argparse
import signal
import sys

from rich.console import Console
from rich.table import Table

from tests.chaos import answers, faults

POOLS = ("prefork", "threads", "gevent")
COLUMNS = (
    "fault",
    "pool",
    "times",
    "tasks",
    "lost",
    "run twice",
    "after outcome",
    "dead",
    "back after",
)


def scenarios(kills, pools, plain, failovers):
    """What is done, in order: a name to show, and a function that does it."""
    if failovers:
        words = ["READONLY", "MASTERDOWN"] * (failovers // 2) + ["READONLY"] * (failovers % 2)
        others = [word for word in answers.ALL if word not in words]
        for pool in pools:
            yield (
                f"{failovers} failovers, {pool}",
                lambda p=pool: faults.say_not_now([p], words, 15.0),
            )
            yield (
                f"{', '.join(others)}, {pool}",
                lambda p=pool: faults.say_not_now([p], others, 5.0),
            )
        return
    for pool in pools:
        yield f"{kills} kills, {pool}", lambda p=pool: faults.kill_workers(p, kills)
        if plain:
            yield (
                f"{kills} kills, {pool}, plain Celery",
                lambda p=pool: _named(faults.kill_workers(p, kills, plain=True, recover=False)),
            )
        yield f"pause, {pool}", lambda p=pool: faults.pause_worker(p)
        yield f"Redis killed, {pool}", lambda p=pool: faults.kill_redis(p, max(1, kills // 40))
        yield (
            f"connections cut, {pool}",
            lambda p=pool: faults.cut_connections(p, max(5, kills // 10)),
        )
    yield "network cut", lambda: faults.cut_network(pools, 60.0)
    yield "slow Redis", lambda: faults.slow_redis(pools, 0.2)
    for pool in pools:
        yield (
            f"producer killed, {pool}",
            lambda p=pool: faults.kill_producers(p, max(2, kills // 20)),
        )
    if "prefork" in pools:
        yield "pool processes", lambda: faults.kill_children(max(5, kills // 4))


def stops(times, pools):
    """The same for workers that are stopped in order."""
    for pool in pools:
        yield f"{times} stops, {pool}", lambda p=pool: faults.stop_workers(p, times)
        yield (
            f"{times // 4} stops with tasks that wait, {pool}",
            lambda p=pool: faults.stop_workers(p, max(1, times // 4), lease_s=10.0, waiting=30),
        )


def _named(report):
    report.fault += " (plain Celery)"
    return report


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="kills of each pool's worker")
    parser.add_argument(
        "--failovers",
        type=int,
        default=0,
        help="have Redis fail over so often instead, 15 s each, then be busy, full, loading …",
    )
    parser.add_argument("--stops", type=int, help="instead: orderly stops of each pool's worker")
    parser.add_argument("--pools", default=",".join(POOLS), help="comma-separated")
    parser.add_argument("--no-plain", action="store_true", help="leave plain Celery out")
    arguments = parser.parse_args()
    pools = arguments.pools.split(",")
    if arguments.kills < 1 or not set(pools) <= set(POOLS):
        parser.error("--kills is at least 1, --pools are of " + ", ".join(POOLS))
    # What was started ends with it then, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(stderr=True)
    table = Table(*COLUMNS)
    failed = 0
    chosen = (
        stops(arguments.stops, pools)
        if arguments.stops
        else scenarios(arguments.kills, pools, not arguments.no_plain, arguments.failovers)
    )
    for name, run in chosen:
        console.print(f"… {name}")
        report = run()
        # The plain one is shown for comparison.
        bad = not report.passed and "plain" not in report.fault
        failed += bad
        row = (report.fault, report.pool, report.times, report.tasks, report.lost)
        row += (report.twice, report.again, report.dead, f"{report.recovery_s:.1f} s")
        table.add_row(*map(str, row), style="red" if bad else None)
    Console().print(table)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

"""Compares our rates with those of Redis alone for the same commands.

The commands that Day Six sends are recorded. A loop that does nothing else then sends them to an
empty Redis in the same order, first one by one, then many in each round trip. If
``redis-benchmark`` is installed, its LPUSH of messages of the same size is measured too.
"""

import re
import shutil
import subprocess
import time
from typing import Any

from bench.measures import Figures, Measure, Scale
from bench.replays import Command, Recording, play
from bench.sessions import SENT_TO, Failed, Session
from bench.systems import Form, System

AT_ONCE = 100
# The measures of Day Six that are compared.
OF = ("enqueue", "enqueue_bulk", "drain_threads", "gather")
ONE_BY_ONE, TOGETHER = "replay_1", "replay_100"
BENCHMARKS = ("redis-benchmark", "valkey-benchmark")
BENCHMARK_ONE_BY_ONE, BENCHMARK_TOGETHER = "lpush_1", "lpush_100"
# Time for the last acknowledgements to reach Redis.
_SETTLED_S = 0.5


def measure(kind: str, of: str = "") -> Measure:
    """Return the measure of a rate of Redis alone."""
    return Measure("_".join(filter(None, [kind, of])), kind, "tasks/s", more_is_better=True)


def limits(system: System, scale: Scale) -> Figures:
    """Yield the rates at which Redis alone answers a system's commands."""
    queueing, message = _record_queueing(system, scale)
    yield from _replay(system, queueing, {key: _counts(scale)[key] for key in OF[:3]})
    yield from _replay(system, _record_calls(system, scale), {"gather": scale.gather})
    tool = benchmark()
    if tool is not None:
        with Session(system) as session:
            count = scale.enqueue * 10
            yield BENCHMARK_ONE_BY_ONE, _lpush(tool, session, message, count, 1)
            yield BENCHMARK_TOGETHER, _lpush(tool, session, message, count * 10, AT_ONCE)


def benchmark() -> str | None:
    """Return the path of Redis' benchmark tool; None if it is not installed."""
    return next(filter(None, map(shutil.which, BENCHMARKS)), None)


def _counts(scale: Scale) -> dict[str, int]:
    return {
        "enqueue": scale.enqueue,
        "enqueue_bulk": scale.enqueue,
        "drain_threads": 10 + 2 * scale.enqueue,
    }


def _record_queueing(system: System, scale: Scale) -> tuple[dict[str, list[Command]], bytes]:
    """Return the commands for enqueueing and draining, and one message."""
    counts = _counts(scale)
    with Session(system) as session, Recording(session.redis) as recording:
        session.tell("enqueue", count=10)
        for key in ("enqueue", "enqueue_bulk"):
            recording.mark(key)
            session.tell(key, count=counts[key])
        message: Any = session.redis.lindex(SENT_TO, 0)
        recording.mark("drain_threads")
        session.start_worker(Form.THREADS)
        session.wait_until_ran(counts["drain_threads"])
        time.sleep(_SETTLED_S)
        recording.mark("end")
        return recording.commands(), message or b""


def _record_calls(system: System, scale: Scale) -> dict[str, list[Command]]:
    with Session(system, results=True) as session, Recording(session.redis) as recording:
        session.start_worker(Form.THREADS)
        session.tell("calls", callers=1, each=1)
        recording.mark("gather")
        session.tell("gather", count=scale.gather)
        time.sleep(_SETTLED_S)
        recording.mark("end")
        return recording.commands()


def _replay(system: System, recorded: dict[str, list[Command]], counts: dict[str, int]) -> Figures:
    for kind, at_once in ((ONE_BY_ONE, 1), (TOGETHER, AT_ONCE)):
        with Session(system) as session:
            for name, commands in recorded.items():
                seconds = play(session.redis, commands, at_once=at_once)
                if name in counts:
                    yield measure(kind, name).key, counts[name] / seconds
            if left := session.redis.llen(SENT_TO):
                raise Failed(f"after the replay, {left} tasks are left in the queue")


def _lpush(tool: str, session: Session, message: bytes, count: int, at_once: int) -> float:
    where = session.redis.connection_pool.connection_kwargs
    done = subprocess.run(
        [
            *(tool, "-h", where["host"], "-p", str(where["port"]), "-q"),
            *("-n", str(count), "-c", "1", "-P", str(at_once)),
            *("lpush", "limit", "x" * len(message)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.findall(r"([\d.]+) requests per second", done.stdout)
    if not found:
        raise Failed(f"{tool} printed no rate: {(done.stderr or done.stdout).strip()[-200:]}")
    return float(found[-1])

"""The measures and how they are taken. Each part of a round is one session of one system."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.sessions import Session
from bench.systems import Form, System


@dataclass(frozen=True)
class Measure:
    """The name and unit of a figure, and its better direction."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False


MEASURES = (
    Measure("enqueue", "enqueue, individually", "tasks/s", more_is_better=True),
    Measure("enqueue_bulk", "enqueue, in bulk", "tasks/s", more_is_better=True),
    Measure("drain_threads", "drain, 10 threads", "tasks/s", more_is_better=True),
    Measure("drain_processes", "drain, 2 processes", "tasks/s", more_is_better=True),
    Measure("drain_greenlets", "drain, 100 greenlets", "tasks/s", more_is_better=True),
    Measure("cpu_enqueue", "client's processor time, individually", "ms/task"),
    Measure("cpu_enqueue_bulk", "client's processor time, in bulk", "ms/task"),
    Measure("cpu_threads", "worker's processor time, 10 threads", "ms/task"),
    Measure("cpu_processes", "worker's processor time, 2 processes", "ms/task"),
    Measure("cpu_greenlets", "worker's processor time, 100 greenlets", "ms/task"),
    Measure("call_p50", "round trip, one caller, median", "ms"),
    Measure("call_p99", "round trip, one caller, 99 %", "ms"),
    Measure("calls_p50", "round trip, 50 callers, median", "ms"),
    Measure("calls_p99", "round trip, 50 callers, 99 %", "ms"),
    Measure("gather", "fan-out and fan-in of results", "tasks/s", more_is_better=True),
    Measure("cpu_gather", "processor time of both sides, fan-out and fan-in", "ms/task"),
    Measure("commands", "Redis commands, one call with result", "per task"),
    Measure("bytes", "Redis traffic, one call with result", "bytes/task"),
    Measure("redis_cpu", "Redis' processor time, drain", "ms/task"),
    Measure("queued", "Redis memory of a queued task", "bytes"),
    Measure("start", "start until the first task ran", "s"),
    Measure("memory_threads", "memory of a worker, 10 threads", "MB"),
    Measure("memory_processes", "memory of a worker, 2 processes", "MB"),
    Measure("memory_greenlets", "memory of a worker, 100 greenlets", "MB"),
    Measure("idle_cpu", "idle worker, processor time", "ms/s"),
    Measure("idle_commands", "idle worker, Redis commands", "per s"),
)


@dataclass(frozen=True)
class Scale:
    """The sizes of a run."""

    enqueue: int
    drain: int
    calls: int
    calls_each: int  # of 50 callers
    gather: int
    maps: int
    idle_s: float
    lengths: tuple[int, ...]  # of the queues, see `bench.growth`
    drain_long: int  # of a long queue
    rounds: int
    rounds_growth: int


FULL = Scale(
    enqueue=5_000,
    drain=10_000,
    calls=500,
    calls_each=40,
    gather=2_000,
    maps=10,
    idle_s=10,
    lengths=(1_000, 10_000, 100_000, 1_000_000),
    drain_long=5_000,
    rounds=5,
    rounds_growth=2,
)
QUICK = Scale(
    enqueue=500,
    drain=1_000,
    calls=100,
    calls_each=4,
    gather=500,
    maps=5,
    idle_s=2,
    lengths=(1_000, 10_000),
    drain_long=500,
    rounds=2,
    rounds_growth=1,
)
TINY = Scale(
    enqueue=50,
    drain=100,
    calls=10,
    calls_each=1,
    gather=50,
    maps=1,
    idle_s=0.2,
    lengths=(50, 200),
    drain_long=100,
    rounds=1,
    rounds_growth=1,
)
CALLERS = 50
# The clock starts when this share of the tasks has run, so that a worker's start-up cost is not
# counted as a cost of the tasks.
WARM_UP = 0.1

Figures = Iterator[tuple[str, float]]


def drain(form: Form, system: System, scale: Scale) -> Figures:
    """Fill a queue, then let one worker drain it."""
    with Session(system) as session:
        if not session.tell("worker", form=form)["commands"]:
            return
        before = session.redis_numbers()
        filled = scale.drain
        if form is Form.THREADS:
            # The first message opens the connections.
            session.tell("enqueue", count=10)
            for key in ("enqueue", "enqueue_bulk"):
                answer = session.tell(key, count=scale.enqueue)
                yield key, scale.enqueue / answer["seconds"]
                yield f"cpu_{key}", answer["cpu"] / scale.enqueue * 1000
            filled = 10 + 2 * scale.enqueue
            more = scale.drain - filled
            if more > 0:
                session.tell("enqueue_bulk", count=more)
                filled += more
            memory = session.redis_numbers()["memory"] - before["memory"]
            yield "queued", memory / filled
        else:
            session.tell("enqueue_bulk", count=filled)

        started = session.start_worker(form)
        first = session.wait_until_ran(1)
        if form is Form.THREADS:
            yield "start", first - started
        began = session.wait_until_ran(int(filled * WARM_UP))
        done, cpu = session.ran, session.worker_cpu_s()
        redis_cpu = session.redis_numbers()["cpu"]
        ended = session.wait_until_ran(filled)
        session.settle()
        count = filled - done
        yield f"drain_{form}", count / (ended - began)
        yield f"cpu_{form}", (session.worker_cpu_s() - cpu) / count * 1000
        if form is Form.THREADS:
            yield "redis_cpu", (session.redis_numbers()["cpu"] - redis_cpu) / count * 1000
        yield f"memory_{form}", session.worker_memory_bytes() / 1e6


def calls(system: System, scale: Scale) -> Figures:
    """Measure calls of one caller and of many, then an idle worker."""
    with Session(system, results=True) as session:
        session.start_worker(Form.THREADS)
        session.tell("enqueue", count=1)
        session.wait_until_ran(1)
        session.settle()
        session.tell("calls", callers=1, each=20)
        latencies = session.tell("calls", callers=1, each=scale.calls)["latencies"]
        yield from _quantiles("call", latencies)
        session.tell("calls", callers=CALLERS, each=1)
        latencies = session.tell("calls", callers=CALLERS, each=scale.calls_each)["latencies"]
        yield from _quantiles("calls", latencies)

        before, cpu = session.redis_numbers(), session.worker_cpu_s()
        answer = session.tell("gather", count=scale.gather)
        yield "gather", scale.gather / answer["seconds"]
        cpu = session.worker_cpu_s() - cpu + answer["cpu"]
        yield "cpu_gather", cpu / scale.gather * 1000
        after = session.redis_numbers()
        for key in ("commands", "bytes"):
            yield key, (after[key] - before[key]) / scale.gather

        session.settle()
        cpu, before = session.worker_cpu_s(), session.redis_numbers()
        time.sleep(scale.idle_s)
        yield "idle_cpu", (session.worker_cpu_s() - cpu) / scale.idle_s * 1000
        commands = session.redis_numbers()["commands"] - before["commands"]
        yield "idle_commands", commands / scale.idle_s


def _quantiles(key: str, latencies: list[float]) -> Figures:
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    yield f"{key}_p50", cuts[49] * 1000
    yield f"{key}_p99", cuts[98] * 1000

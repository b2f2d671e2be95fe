"""Measures rates and memory of a system at several queue lengths.

If the rates, the client's memory and the worker's memory stay constant, no part of the system
scans the whole queue.
"""

from bench.measures import WARM_UP, Figures, Measure, Scale
from bench.sessions import Session
from bench.systems import Form, System

# Other systems take minutes to fill a longer queue.
LONGEST_OF_OTHERS = 100_000
# From this length on, our queue is drained completely and measured in tenths.
DRAINED_WHOLE = 1_000_000

KINDS = {
    "enqueue": ("enqueue, in bulk", "tasks/s", True),
    "client": ("client's memory, at most", "MB", False),
    "queued": ("Redis memory of a queued task", "bytes", False),
    "drain": ("drain, 10 threads", "tasks/s", True),
    "worker": ("worker's memory", "MB", False),
}
SENT = ("enqueue", "client")
WHOLE = {
    "whole_second": Measure(
        "whole_second", "drain, its second tenth", "tasks/s", more_is_better=True
    ),
    "whole_slowest": Measure(
        "whole_slowest", "drain, its slowest tenth", "tasks/s", more_is_better=True
    ),
    "whole_last": Measure("whole_last", "drain, its last tenth", "tasks/s", more_is_better=True),
    "whole_worker_first": Measure(
        "whole_worker_first", "worker's memory, after the first tenth", "MB"
    ),
    "whole_worker_last": Measure("whole_worker_last", "worker's memory, at the end", "MB"),
}


def measure(kind: str, length: int, *, sent: bool = False) -> Measure:
    """Return a measure at one length. `sent`: for ``producer send --count``, not the library."""
    title, unit, more_is_better = KINDS[kind]
    key = f"{'sent' if sent else 'growth'}_{kind}_{length}"
    return Measure(key, f"{title}, {length:,} queued", unit, more_is_better=more_is_better)


def growth(system: System, scale: Scale) -> Figures:
    """For each length, fill a queue and let a worker drain part of it."""
    for length in scale.lengths:
        if system.is_ours or length <= LONGEST_OF_OTHERS:
            yield from _at(length, system, scale)
        if system.is_ours:
            yield from _sent(length, system)


def _at(length: int, system: System, scale: Scale) -> Figures:
    def named(kind: str, value: float) -> tuple[str, float]:
        return measure(kind, length).key, value

    with Session(system) as session:
        # The first message opens the connections.
        session.tell("enqueue", count=1)
        memory = session.redis_numbers()["memory"]
        answer = session.tell("enqueue_bulk", count=length)
        yield named("enqueue", length / answer["seconds"])
        yield named("client", session.client_peak_bytes() / 1e6)
        yield named("queued", (session.redis_numbers()["memory"] - memory) / length)

        session.start_worker(Form.THREADS)
        whole = system.is_ours and length >= DRAINED_WHOLE
        drained = length if whole else min(length, scale.drain_long)
        first = max(1, int(drained * WARM_UP))
        began = session.wait_until_ran(first)
        done = session.ran
        if whole:
            yield from _tenths(length, session)
        ended = session.wait_until_ran(drained)
        yield named("drain", (session.ran - done) / (ended - began))
        yield named("worker", session.worker_memory_bytes() / 1e6)


def _tenths(length: int, session: Session) -> Figures:
    """Yield the figures of the later tenths. The first tenth has already run."""
    rates = []
    yield "whole_worker_first", session.worker_memory_bytes() / 1e6
    since, done = session.wait_until_ran(length // 10), session.ran
    for tenth in range(2, 11):
        until = session.wait_until_ran(length * tenth // 10)
        rates.append((session.ran - done) / (until - since))
        since, done = until, session.ran
    yield "whole_second", rates[0]
    yield "whole_slowest", min(rates)
    yield "whole_last", rates[-1]
    yield "whole_worker_last", session.worker_memory_bytes() / 1e6


def _sent(length: int, system: System) -> Figures:
    with Session(system) as session:
        seconds, peak_bytes = session.send(length)
        yield measure("enqueue", length, sent=True).key, length / seconds
        yield measure("client", length, sent=True).key, peak_bytes / 1e6

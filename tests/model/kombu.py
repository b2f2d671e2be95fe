"""A model of kombu's own delivery, for comparison.

The worker pops a message with BRPOP. A second command records the message in `unacked`. The model
has the same shape as `tests.model.protocol`, so the same search reads it.
"""

from collections.abc import Iterator
from typing import NamedTuple


class State(NamedTuple):
    """Redis' list, hash and results; what the worker has popped; how many kills are to come."""

    sent: int = 0
    queue: tuple = ()
    unacked: frozenset = frozenset()
    outcomes: frozenset = frozenset()
    popped: frozenset = frozenset()
    running: frozenset = frozenset()
    kills: int = 1


class Kombu:
    """One worker with late acknowledgement, which starts again after a kill."""

    def __init__(self, tasks: int = 1) -> None:
        self.tasks = tasks

    def initial(self) -> State:
        return State()

    def send(self, s: State) -> Iterator[tuple[str, State]]:
        """virtual.Channel._put: LPUSH."""
        if s.sent < self.tasks:
            sent = s._replace(queue=(*s.queue, s.sent), sent=s.sent + 1)
            yield f"task {s.sent} is sent", sent

    def pop(self, s: State) -> Iterator[tuple[str, State]]:
        """redis.Channel._brpop_read."""
        for task in s.queue[:1]:
            popped = s._replace(queue=s.queue[1:], popped=s.popped | {task})
            yield f"the worker pops task {task} (BRPOP)", popped

    def record(self, s: State) -> Iterator[tuple[str, State]]:
        """redis.QoS.append: ZADD and HSET."""
        for task in s.popped:
            recorded = s._replace(
                popped=s.popped - {task}, unacked=s.unacked | {task}, running=s.running | {task}
            )
            yield f"the worker records task {task} in unacked", recorded

    def end(self, s: State) -> Iterator[tuple[str, State]]:
        """The outcome is stored, then redis.QoS.ack."""
        for task in s.running:
            yield f"task {task} ends", s._replace(outcomes=s.outcomes | {task})
            if task in s.outcomes:
                ended = s._replace(running=s.running - {task}, unacked=s.unacked - {task})
                yield f"task {task} is acknowledged", ended

    def restore(self, s: State) -> Iterator[tuple[str, State]]:
        """redis.QoS.restore_visible: after the visibility timeout."""
        for task in s.unacked - s.running:
            restored = s._replace(unacked=s.unacked - {task}, queue=(task, *s.queue))
            yield f"task {task} is restored", restored

    def kill(self, s: State) -> Iterator[tuple[str, State]]:
        """The worker is killed: its memory is gone."""
        if s.kills:
            killed = s._replace(popped=frozenset(), running=frozenset(), kills=s.kills - 1)
            yield "the worker is killed", killed

    STEPS = (send, pop, record, end, restore)
    OUTSIDE = (kill,)

    def broken(self, s: State) -> str:
        for task in range(s.sent):
            if not (task in s.queue or task in {*s.popped, *s.unacked, *s.outcomes}):
                return f"task {task} is lost"
        return ""

    def is_done(self, s: State) -> bool:
        return s.sent == self.tasks and not (s.queue or s.popped or s.unacked)

    def must_go_on(self, s: State) -> bool:
        return True

    def canonical(self, s: State) -> State:
        return s

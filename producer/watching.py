"""``producer watch``: pools, queues, throughput and the last tasks, from Celery's own events.

A worker's heartbeats carry how much it has done, so that the figures do not need each task's
events: of those only so many a second are read, and the subscription rests until the next.
However much the workers do, watching costs about the same.
"""

import contextlib
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Self

TICK_S = 1.0
# Events of tasks that are read in one tick; a worker's message may hold several.
_READ_A_TICK = 20
_REST_TICKS = 2
_LAST_TASKS = 200
_HEARTBEATS_WITHIN_S = 8.0
_MOST = 10**15  # no figure of a worker is larger


@dataclass
class Seen:
    """The content of a worker's heartbeats."""

    name: str
    active: int = 0
    processed: int = 0
    tasks_a_second: float | None = None
    beats: int = 0
    at: float = 0.0


@dataclass
class View:
    """The state of the service at one moment."""

    pools: list[Any]
    workers: list[Seen]
    last_tasks: list[dict[str, Any]]
    sampled: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        workers = [
            {key: value for key, value in asdict(seen).items() if key not in ("beats", "at")}
            for seen in self.workers
        ]
        return {
            "pools": [asdict(pool) for pool in self.pools],
            "workers": workers,
            "last_tasks": self.last_tasks,
            "sampled": self.sampled,
        }


@dataclass
class Events:
    """A subscription to Celery's events."""

    workers: dict[str, Seen] = field(default_factory=dict)
    tasks: "deque[dict[str, Any]]" = field(default_factory=lambda: deque(maxlen=_LAST_TASKS))
    names: dict[str, str] = field(default_factory=dict)
    sampled: bool = False
    _read: int = 0
    _resting: int = 0  # ticks
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        from shared.app import app
        from shared.broker.connections import store

        store().ping()
        self._connection = self._stack.enter_context(app.connection_for_read())
        self._subscribe("worker.#", self._hear_worker)
        self._of_tasks = self._subscribe("task.#", self._hear_task)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def listen(self, seconds: float) -> None:
        """Take in what comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._connection.drain_events(timeout=left)
            except TimeoutError:
                return
            if self._read >= _READ_A_TICK and not self._resting:
                self._resting, self.sampled = _REST_TICKS, True
                # The channel as a whole: what is still on its way to it goes with it.
                self._of_tasks.close()

    def tick(self) -> None:
        """A new second begins: after a rest, read about tasks again."""
        self._read = 0
        if not self._resting:
            self.sampled = False
            return
        self._resting -= 1
        if not self._resting:
            self._of_tasks = self._subscribe("task.#", self._hear_task)

    def listen_to_all(self) -> None:
        """Listen until each worker that is alive has had two heartbeats, or for a while."""
        from shared.broker import presence

        alive = {worker.name for worker in presence.workers()}
        deadline = time.monotonic() + _HEARTBEATS_WITHIN_S
        while time.monotonic() < deadline and not all(
            name in self.workers and self.workers[name].beats >= 2 for name in alive
        ):
            self.listen(0.25)

    def view(self) -> View:
        """The present state of the service."""
        from producer import status

        now = time.time()
        alive = [seen for seen in self.workers.values() if now - seen.at < 10]
        workers = sorted(alive, key=lambda seen: seen.name)
        return View(status.read(), workers, list(self.tasks)[::-1], self.sampled)

    def _subscribe(self, routing_key: str, heard: Callable[[Any], None]) -> Any:
        """A channel of its own: kombu delivers to one queue of an exchange in each."""
        from kombu import Consumer

        from shared.app import app

        channel = self._connection.channel()
        receiver = app.events.Receiver(
            channel, handlers={"*": heard}, routing_key=routing_key, app=app
        )
        for consumer in receiver.get_consumers(partial(Consumer, channel), channel):
            consumer.consume()
        return channel

    def _hear_worker(self, event: dict[str, Any]) -> None:
        name = event.get("hostname")
        if event.get("type") == "worker-offline" and isinstance(name, str):
            self.workers.pop(name, None)
        elif (
            event.get("type") == "worker-heartbeat"
            and isinstance(name, str)
            and _are_numbers(event, "timestamp", "processed", "active")
        ):
            seen = self.workers.setdefault(name, Seen(name))
            passed = event["timestamp"] - seen.at
            if seen.beats and passed > 0:
                seen.tasks_a_second = round((event["processed"] - seen.processed) / passed, 1)
            seen.active, seen.processed = event["active"], event["processed"]
            seen.at = event["timestamp"]
            seen.beats += 1

    def _hear_task(self, event: dict[str, Any]) -> None:
        self._read += 1
        kind, task_id = event.get("type"), event.get("uuid")
        if not isinstance(task_id, str):
            return
        if kind == "task-received":
            self.names[task_id] = str(event.get("name"))
            while len(self.names) > _LAST_TASKS * 5:
                self.names.pop(next(iter(self.names)))
        elif kind in ("task-succeeded", "task-failed") and _are_numbers(event, "timestamp"):
            name = self.names.pop(task_id, "")
            if name or not self.sampled:
                took = event["runtime"] if _are_numbers(event, "runtime") else 0.0
                self.tasks.append(
                    {
                        "id": task_id,
                        "task": name,
                        "worker": str(event.get("hostname")),
                        "state": kind.removeprefix("task-"),
                        "seconds": round(took, 3),
                        "at": event["timestamp"],
                    }
                )


def _are_numbers(event: dict[str, Any], *names: str) -> bool:
    return all(type(event.get(name)) in (int, float) and 0 <= event[name] < _MOST for name in names)


def dashboard(view: View, lines: int) -> Any:
    """The view for a terminal, so many lines of tasks at most."""
    from rich.console import Group

    from producer import status
    from producer.printing import Sheet

    workers = [
        (
            seen.name,
            f"{seen.active:,}",
            "" if seen.tasks_a_second is None else f"{seen.tasks_a_second:,.1f}",
            f"{seen.processed:,}",
        )
        for seen in view.workers
    ]
    tasks = [
        (task["task"] or task["id"], task["worker"], task["state"], f"{task['seconds']:.3f}")
        for task in view.last_tasks[:lines]
    ]
    last = "last tasks" + (" (a sample)" if view.sampled else "")
    return Group(
        status.table(view.pools),
        Sheet(("worker", "running", "tasks/s", "taken in all"), workers, right=(1, 2, 3)),
        Sheet((last, "worker", "state", "seconds"), tasks, right=(3,)),
    )


def live(events: Events) -> None:
    from rich.live import Live

    from producer.arguments import WrongUsage
    from producer.printing import console

    terminal = console()
    if not terminal.is_terminal:
        raise WrongUsage("there is no terminal to show it on; --once shows it once")
    with _keys() as pressed, Live(console=terminal, screen=True, auto_refresh=False) as live:
        while True:
            view = events.view()
            # Two tables above, with their frames; the size is read anew, it may have changed.
            taken = len(view.pools) + len(view.workers) + 14
            live.update(dashboard(view, max(0, terminal.size.height - taken)), refresh=True)
            end = time.monotonic() + TICK_S
            while time.monotonic() < end:
                if pressed() in ("q", "Q"):
                    return
                events.listen(min(0.25, max(0.0, end - time.monotonic())))
            events.tick()


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Read single keys, as long as it lasts, without waiting for one."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], 0)[0] else ""
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

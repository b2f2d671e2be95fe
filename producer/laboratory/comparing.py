"""Runs the same items in every executor, in rounds, and keeps the figures of each item.

pilot      each executor at 1, 2, 4 … at once, until two sizes in a row gain nothing
round 1…n  every size that is left, in another order each time: a noisy neighbour
           hurts all alike
"""

import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from producer.laboratory.executors import LADDER, Executor
from producer.laboratory.sides import ClusterSide, LocalSide
from producer.laboratory.tasks import Task
from shared.broker import presence
from shared.calls import references
from shared.errors import DaySixError
from shared.laboratory import probes, workloads

# About how long one size of one executor should run, if the caller did not choose the items.
_AIM_S = 0.8
_FEWEST_ITEMS, _MOST_ITEMS = 12, 200
# Items for each slot. With so many, filling and draining the slots hardly matters.
_ITEMS_A_PLACE = 4
_GAIN = 1.1
_NOOPS = 30
_ANSWERS_WITHIN_S = 30.0
# An item that computes more than half of its time fills a core with two slots.
_PLACES_A_CORE = 4
# All rounds together should not take longer. A size that would take too long is run once.
_ROUNDS_S = 90.0
# About what a task costs on its way to a worker and back.
_SENDING_S = 0.005
# Beyond this share of the free memory a size is not tried.
_MEMORY_SHARE = 0.5

# Called at each step with its name, the steps done, their total, and the seconds left if known.
Say = Callable[[str, int, int, float | None], None]


@dataclass
class Cell:
    """One executor at one size: its runs, or the reason why there are none."""

    executor: Executor
    concurrency: int
    passes: int = 1
    pilot: dict[str, Any] = field(default_factory=dict)
    pilot_rate: float = 0.0
    pilot_s: float = 0.0
    once: bool = False
    runs: list[dict[str, Any]] = field(default_factory=list)
    skipped: str = ""
    problem: str = ""

    @property
    def wanted(self) -> bool:
        """True if this cell is to be measured, or measured again."""
        return not (self.skipped or self.problem or self.once)


class Comparison:
    """All runs of a task. If `run` is interrupted, `cells` holds the runs so far."""

    def __init__(
        self,
        task: Task,
        executors: list[Executor],
        *,
        sizes: tuple[int, ...] = (),
        rounds: int = 3,
        within_s: float = 60.0,
    ) -> None:
        self.task = task
        self.executors = executors
        self.rounds = rounds
        self.interrupted = False
        self.cells: list[Cell] = []
        self.noops: dict[Executor, list[float]] = {}
        self.here = probes.surroundings()
        self.workers: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self.item_s = 0.0
        self.item_bytes = 0
        self.cpu_share = 0.0
        self.started = time.time()
        self.seconds = 0.0
        self._sizes = sizes
        self._within_s = within_s
        self._local: dict[Executor, LocalSide] = {}
        self._cluster: dict[Executor, ClusterSide] = {}

    def run(self, say: Say) -> None:
        """Run the pilot and the rounds. After Ctrl-C the runs so far remain."""
        began = time.monotonic()
        try:
            say("looking for workers", 0, 1, None)
            self._open()
            say("warming up", 0, 1, None)
            self._size_items()
            self._pilot(say)
            self._measure(say)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.seconds = time.monotonic() - began
            for side in self._local.values():
                side.close()

    def _open(self) -> None:
        alive = {queue: worker for worker in presence.workers() for queue in worker.queues}
        for executor in self.executors:
            if executor.kind is None:
                self._local[executor] = LocalSide(executor)
                if executor is Executor.ASYNCIO and not self.task.awaitable():
                    self._skip(executor, "not a coroutine function")
            elif executor.kind.value not in alive:
                self._skip(executor, f"no {executor.kind.value} worker is alive")
            else:
                side = self._cluster[executor] = ClusterSide(executor.kind)
                found = side.surroundings(_ANSWERS_WITHIN_S)
                found["startup_s"] = alive[executor.kind.value].startup_s
                self.workers[executor.kind.value] = found
        # Always include the serial executor, because all others are compared with it.
        self._local.setdefault(Executor.SERIAL, LocalSide(Executor.SERIAL))

    def _skip(self, executor: Executor, why: str) -> None:
        self.cells.append(Cell(executor, 1, skipped=why))

    def _size_items(self) -> None:
        """Measure one item, and choose the number of items unless the caller did."""
        given = self.task.items
        first = given[:3] or [[number, *self.task.extra] for number in range(3)]
        # The very first item also pays for imports and caches.
        done = self._once(Executor.SERIAL, first[:1] + first, 1)
        if "problem" in done:
            raise DaySixError(f"{self.task.name} cannot be measured: {done['problem']}")
        samples = done["samples"][1:]
        self.item_s = statistics.median(s["ended"] - s["began"] for s in samples)
        self.cpu_share = sum(s["cpu_s"] for s in samples) / sum(
            max(s["ended"] - s["began"], 1e-9) for s in samples
        )
        self.item_bytes = max(s["peak"] - s["rss"][0] for s in done["samples"])
        if not given:
            # Include the encoding, because a large result may take longer than the work.
            each_s = statistics.median(s["received"] - s["submitted"] for s in samples)
            number = round(_AIM_S / max(each_s, 1e-6))
            number = min(max(number, _FEWEST_ITEMS), _MOST_ITEMS)
            self.task.items = [[index, *self.task.extra] for index in range(number)]

    def _pilot(self, say: Say) -> None:
        live = [e for e in self.executors if not any(c.executor is e for c in self.cells)]
        for number, executor in enumerate(live):
            best, without_gain = 0.0, 0
            for size in self._ladder(executor):
                cell = Cell(executor, size, self._passes(size))
                self.cells.append(cell)
                if without_gain >= 2 and not self._sizes:
                    cell.skipped = "two sizes before it gained nothing"
                    continue
                if (
                    self.cpu_share > 0.5
                    and size > _PLACES_A_CORE * self.here["cores"]
                    and not self._sizes
                ):
                    cell.skipped = f"it computes {self.cpu_share:.0%} of its time"
                    continue
                need = self.item_bytes * size
                free = self.here["memory_free_bytes"]
                if free is not None and need > free * _MEMORY_SHARE:
                    cell.skipped = (
                        f"would need {need / 2**30:.1f} GiB of {free / 2**30:.1f} GiB that are free"
                    )
                    continue
                say(f"warming up {executor.value} × {size}", number, len(live), None)
                done = self._run(cell)
                if not cell.wanted:
                    without_gain += 1
                    continue
                rate = len(done["samples"]) / done["seconds"]
                cell.pilot, cell.pilot_rate = done, rate
                cell.pilot_s = done["seconds"] + done.get("startup_s", 0.0)
                without_gain = 0 if rate > best * _GAIN else without_gain + 1
                best = max(best, rate)

    def _ladder(self, executor: Executor) -> list[int]:
        if executor is Executor.SERIAL:
            return [1]
        most = presence.capacity(executor.like) if executor.like else 1
        sizes = self._sizes or (*(size for size in LADDER if size < most), most)
        fitting = [size for size in sizes if size <= most]
        if len(fitting) < len(sizes):
            self.notes.append(f"{executor.value}: the workers hold {most} at once, not more")
        return fitting or [most]

    def _passes(self, size: int) -> int:
        """Whole passes over the items, so that all sizes do the same work and all slots are busy."""
        return max(1, math.ceil(_ITEMS_A_PLACE * size / len(self.task.items)))

    def _spare(self) -> None:
        """Do not run slow sizes again, unless a size is the best of its executor.

        By what the laws expect of them: what a pilot took may be a neighbour's doing.
        """
        if self._sizes:
            return
        best: dict[Executor, Cell] = {}
        for cell in filter(lambda cell: cell.wanted, self.cells):
            if cell.pilot_rate > best.setdefault(cell.executor, cell).pilot_rate:
                best[cell.executor] = cell
        for cell in sorted(self.cells, key=self._expected_s, reverse=True):
            left = sum(self._expected_s(c) for c in self.cells if c.wanted) * self.rounds
            if left > _ROUNDS_S and cell.wanted and best[cell.executor] is not cell:
                cell.once = True
                cell.runs.append(cell.pilot)

    def _expected_s(self, cell: Cell) -> float:
        at_once = min(cell.concurrency, self.here["cores"] / max(self.cpu_share, 1e-3))
        each_s = self.item_s / max(1.0, at_once)
        if cell.executor.kind:
            each_s = max(each_s, _SENDING_S)
        return float(each_s * cell.passes * len(self.task.items))

    def _measure(self, say: Say) -> None:
        self._spare()
        cells = [cell for cell in self.cells if cell.wanted]
        executors = list(dict.fromkeys(cell.executor for cell in cells))
        total = len(cells) * self.rounds
        done = 0
        for turn in range(self.rounds):
            order = list(cells)
            random.Random(turn).shuffle(order)
            for executor in executors:
                self._measure_noop(executor)
            for index, cell in enumerate(order):
                left = sum(c.pilot_s for c in order[index:] if c.wanted)
                left += sum(c.pilot_s for c in cells if c.wanted) * (self.rounds - turn - 1)
                what = (
                    f"round {turn + 1} of {self.rounds}: {cell.executor.value} × {cell.concurrency}"
                )
                say(what, done, total, left)
                if cell.wanted:
                    run = self._run(cell)
                    if cell.wanted:
                        cell.runs.append(run)
                done += 1

    def _measure_noop(self, executor: Executor) -> None:
        """The cost of sending a task, measured with tasks that do nothing, one at a time."""
        items: list[list[Any]] = [[number] for number in range(_NOOPS)]
        if executor is Executor.ASYNCIO:
            return  # the task has no plain function
        done = self._once(executor, items, 1, workloads.noop)
        if "problem" not in done:
            self.noops.setdefault(executor, []).append(done["seconds"] / _NOOPS)

    def _run(self, cell: Cell) -> dict[str, Any]:
        done = self._once(cell.executor, self.task.items * cell.passes, cell.concurrency)
        cell.problem = done.get("problem", "")
        return done

    def _once(
        self,
        executor: Executor,
        items: list[list[Any]],
        size: int,
        function: Callable[..., Any] | None = None,
    ) -> dict[str, Any]:
        if executor in self._cluster:
            return self._cluster[executor].run(
                function or self.task.function, items, size, self._within_s
            )
        reference = references.reference(function) if function else self.task.reference
        if executor is Executor.ASYNCIO:
            reference = self.task.awaitable()
        return self._local[executor].run(reference, items, size, self._within_s)

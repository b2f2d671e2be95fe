"""The client of one system, in its own environment. Reads orders from stdin, line by line.

``python -m bench.driver MODULE``. Each order is a JSON object with ``do``. Each answer is a line
of JSON in the file that BENCH_ANSWERS names.
"""

import asyncio
import importlib
import inspect
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

POLL_S = 0.01


class Driver:
    """Calls the functions of a system's module, which may be async."""

    def __init__(self, module: Any, runner: asyncio.Runner) -> None:
        self.module = module
        self.runner = runner
        if hasattr(module, "start"):
            self.run(module.start)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function. Returns its result, after awaiting a coroutine."""
        value = function(*args)
        return self.runner.run(value) if inspect.iscoroutine(value) else value

    def enqueue(self, count: int) -> dict[str, Any]:
        """Return the seconds and this process's processor time for `count` single calls."""
        return self._timed(self.module.enqueue, count)

    def enqueue_bulk(self, count: int) -> dict[str, Any]:
        """Return the seconds and processor time of one call that enqueues `count` tasks."""
        return self._timed(self.module.enqueue_bulk, count)

    def fill(self, task: str, args: list[Any], count: int) -> dict[str, Any]:
        """Return the seconds and processor time of one call that enqueues another task."""
        name = f"{self.module.__name__}.{task}"
        return self._timed(lambda count: self.module.fill(name, tuple(args), count), count)

    def gather(self, count: int) -> dict[str, Any]:
        """Return the seconds and processor time until all results arrived and were correct."""
        cpu, started = time.process_time(), time.perf_counter()
        found = self.run(self.module.gather, count)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        if found != list(range(count)):
            raise ValueError("results are missing, wrong or out of order")
        return {"seconds": seconds, "cpu": cpu}

    def maps(self, items: int, ways: dict[str, int | None]) -> dict[str, float]:
        """Return the seconds of an empty map here, and in a local pool with each chunksize."""
        seconds: dict[str, float] = self.run(self.module.maps, items, ways)
        return seconds

    def calls(self, callers: int, each: int) -> dict[str, Any]:
        """Return the seconds of each call, with this many concurrent callers."""
        if inspect.iscoroutinefunction(self.module.call):
            return {"latencies": self.runner.run(self._calls_async(callers, each))}
        latencies: list[float] = []

        def caller() -> None:
            for number in range(each):
                started = time.perf_counter()
                self._check(number, self.module.call(number))
                latencies.append(time.perf_counter() - started)

        threads = [threading.Thread(target=caller) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(latencies) != callers * each:
            raise ValueError("a call failed")
        return {"latencies": latencies}

    async def _calls_async(self, callers: int, each: int) -> list[float]:
        latencies = []

        async def caller() -> None:
            for number in range(each):
                started = time.perf_counter()
                self._check(number, await self.module.call(number))
                latencies.append(time.perf_counter() - started)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return latencies

    def _check(self, sent: int, got: Any) -> None:
        if got != sent:
            raise ValueError(f"sent {sent}, got back {got!r}")

    def settled(self, within_s: float) -> dict[str, Any]:
        """Wait until no task is queued or running."""
        deadline = time.monotonic() + within_s
        while left := self.run(self.module.left):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{left} tasks are left after {within_s:g} s")
            time.sleep(POLL_S)
        return {}

    def worker(self, form: str) -> dict[str, Any]:
        """Return the commands that start a worker of this form."""
        return {"commands": self.module.worker(form)}

    def _timed(self, function: Callable[[int], Any], count: int) -> dict[str, Any]:
        cpu, started = time.process_time(), time.perf_counter()
        self.run(function, count)
        return {
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - cpu,
        }


def main() -> None:
    """Answer until stdin ends."""
    # Do not use stdout: a library may print there.
    answers = open(os.environ["BENCH_ANSWERS"], "w", encoding="utf-8")  # noqa: SIM115
    with asyncio.Runner() as runner:
        driver = Driver(importlib.import_module(f"bench.systems.{sys.argv[1]}"), runner)
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(driver, request.pop("do"))(**request)
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    # Exit without waiting for pools or readers that a library still has open.
    os._exit(0)


if __name__ == "__main__":
    main()

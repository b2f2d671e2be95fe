"""The two sides of a comparison: local executors in processes of their own, and the cluster."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import TimeoutError as PoolTimeoutError
from typing import Any

from producer.laboratory.driving import TooSlow, drive, pooled
from producer.laboratory.executors import Executor
from shared.calls import codec
from shared.errors import DaySixError
from shared.laboratory import probes
from shared.multiprocessing.pool import Pool
from shared.pools import PoolKind

# Extra time beyond the order's own limit, for starting and answering.
_GRACE_S = 20.0
_ENDS_WITHIN_S = 2.0


class LocalSide:
    """One local executor in a separate process, which is replaced if it hangs or dies."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, reference: str, items: list[list[Any]], concurrency: int, within_s: float
    ) -> dict[str, Any]:
        """Run items. Returns samples, seconds and start-up time, or a `problem`."""
        order = {
            "function": reference,
            "items": codec.dumps(items, what="the items").hex(),
            "concurrency": concurrency,
            "within_s": within_s,
        }
        process = self._running()
        line = _within(within_s + _GRACE_S, lambda: _ask(process, json.dumps(order)), self._kill)
        if not line:
            status = process.wait(_ENDS_WITHIN_S)
            self.close()
            ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            return {"problem": f"its process ended: {ended}"}
        done: dict[str, Any] = json.loads(line)
        if done.get("late"):
            self.close()  # a hanging item would disturb the next run
        return done

    def close(self) -> None:
        """End the process and all its children."""
        self._kill()
        process, self._process = self._process, None
        if process is None:
            return
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            path = os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "producer.laboratory.local", self._executor.value],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": path},
                # A process group of its own gets no Ctrl-C, and can be ended as a whole.
                start_new_session=True,
            )
        return self._process


class ClusterSide:
    """The cluster's workers of one kind. The size of a pool limits how many items run at once."""

    def __init__(self, kind: PoolKind) -> None:
        self._kind = kind

    def run(
        self,
        function: Callable[..., Any],
        items: list[list[Any]],
        concurrency: int,
        within_s: float,
    ) -> dict[str, Any]:
        """Run items. Returns samples and seconds, or a `problem`."""
        with Pool(concurrency, kind=self._kind) as pool:
            try:
                return drive(pooled(pool, function), items, concurrency, within_s)
            except TooSlow as error:
                return {"problem": str(error), "late": True}

    def surroundings(self, within_s: float) -> dict[str, Any]:
        """A worker's description of its process."""
        with Pool(1, kind=self._kind) as pool:
            try:
                found: dict[str, Any] = pool.apply_async(probes.surroundings).get(within_s)
            except PoolTimeoutError:
                raise DaySixError(
                    f"no {self._kind.value} worker answered within {within_s:g} s; see producer status"
                ) from None
        return found


def _ask(process: "subprocess.Popen[str]", order: str) -> str:
    if process.stdin is None or process.stdout is None:
        return ""
    try:
        process.stdin.write(order + "\n")
        process.stdin.flush()
    except OSError:
        return ""
    return process.stdout.readline()


def _within(seconds: float, ask: Callable[[], str], give_up: Callable[[], None]) -> str:
    """Return the result of `ask`. If it takes too long, call `give_up`, which makes it end."""
    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        return ask()
    finally:
        timer.cancel()

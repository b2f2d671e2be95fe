"""A session runs one system: its own Redis, its client and its workers."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil
import redis

from bench.systems import System
from producer.children import Children
from producer.stack import _free_ports, _redis_server
from shared.pools import PoolKind

ANSWER_WITHIN_S = 600.0
START_WITHIN_S = 60.0
SENT_TO = PoolKind.THREADS.value
POLL_S = 0.002


class Failed(Exception):
    """Raised if a system does not carry out an order in time."""


class Session:
    """A context manager that runs one system. Its methods raise `Failed`."""

    def __init__(self, system: System, *, results: bool = False) -> None:
        self.system = system
        self._results = results
        self._workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._children = Children()
        try:
            self.ran_file = self._children.folder / "ran"
            self.ran_file.touch()
            self._start_redis()
            self._start_driver()
        except BaseException:
            self._children.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()
        self._answers.close()
        self._children.close()

    def tell(self, what: str, **arguments: Any) -> Any:
        """Give the client an order. Returns its answer."""
        request = json.dumps({"do": what, **arguments}).encode() + b"\n"
        pipe: Any = self._driver.stdin
        with contextlib.suppress(BrokenPipeError):  # `_answer` reports a client that has ended
            os.write(pipe.fileno(), request)
        return self._answer()

    def start_worker(self, form: str) -> float:
        """Start a worker. Returns the moment of the start."""
        commands = self.tell("worker", form=form)["commands"]
        started = time.monotonic()
        for command in commands:
            self._workers.append(self._launch("worker", command))
        return started

    def end_worker(self) -> None:
        """Kill the worker."""
        for worker in self._workers:
            self._children.end(worker)
        self._workers.clear()

    @property
    def ran(self) -> int:
        """The number of tasks that have run."""
        return self.ran_file.stat().st_size

    def wait_until_ran(self, count: int, within_s: float = ANSWER_WITHIN_S) -> float:
        """Wait until this many tasks have run. Returns that moment."""
        self.wait(lambda: self.ran >= count, within_s, f"{count} tasks")
        return time.monotonic()

    def settle(self) -> float:
        """Wait until no task is queued or in flight. Returns that moment."""
        self.tell("settled", within_s=60.0)
        return time.monotonic()

    def worker_cpu_s(self) -> float:
        """Return the processor time of all worker processes so far, including ended ones."""
        return sum(map(cpu_s_of, self.worker_processes()))

    def worker_memory_bytes(self) -> int:
        """Return the memory of the worker's processes. Shared memory counts once."""
        total = 0
        for process in self.worker_processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def redis_numbers(self) -> dict[str, float]:
        """Return Redis' counters so far, without the bench's own commands."""
        stats: Any = self.redis.info("commandstats")
        everything: Any = self.redis.info("everything")
        commands = sum(
            numbers["calls"]
            for name, numbers in stats.items()
            if name.partition("_")[2] not in ("info", "ping", "config|resetstat")
        )
        return {
            "commands": commands,
            "bytes": everything["total_net_input_bytes"] + everything["total_net_output_bytes"],
            "cpu": everything["used_cpu_user"] + everything["used_cpu_sys"],
            # Leave out the memory of connections: some clients open hundreds.
            "memory": everything["used_memory"] - everything.get("mem_clients_normal", 0),
        }

    def client_peak_bytes(self) -> int:
        """Return the peak memory of the client's process so far."""
        return _peak_bytes(self._driver.pid)

    def send(self, count: int) -> tuple[float, int]:
        """Queue tasks with ``producer send``. Returns its seconds and its peak memory in bytes."""
        command = [sys.executable, "-m", "producer", "send", "sleep", "0", "--json"]
        sender = self._launch("sender", [*command, "--count", str(count), "--pool", SENT_TO])
        peak_bytes = 0
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while sender.poll() is None:
            peak_bytes = max(peak_bytes, _peak_bytes(sender.pid))
            if time.monotonic() > deadline:
                raise Failed(f"producer send took more than {ANSWER_WITHIN_S:g} s")
            time.sleep(POLL_S * 10)
        if sender.returncode:
            raise Failed(f"producer send failed: {self._log('sender')}")
        said = Path(self._children.folder, "sender.log").read_text(encoding="utf-8")
        return json.loads(said[said.index("{") : said.rindex("}") + 1])["seconds"], peak_bytes

    def worker_processes(self) -> list[psutil.Process]:
        """Return the workers' processes that run now."""
        processes = []
        for worker in self._workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                first = psutil.Process(worker.pid)
                processes += [first, *first.children(recursive=True)]
        return processes

    def _start_redis(self) -> None:
        port = _free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{port}/0"
        self.redis = redis.Redis.from_url(self.url, socket_timeout=5)
        config = f'bind 127.0.0.1\nport {port}\nsave ""\nappendonly no\n'
        server = self._launch("redis", [_redis_server(), "-"], given=config)

        def answers() -> bool:
            if server.poll() is not None:
                raise Failed(f"Redis did not start: {self._log('redis')}")
            with contextlib.suppress(redis.ConnectionError):
                return bool(self.redis.ping())
            return False

        self.wait(answers, START_WITHIN_S, "Redis")

    def _start_driver(self) -> None:
        path = self._children.folder / "answers"
        os.mkfifo(path)
        # Open for writing too: the open does not block, and reads never reach the end of the file.
        self._answers = open(os.open(path, os.O_RDWR), "rb", buffering=0)  # noqa: SIM115
        command = [str(self.system.python()), "-m", "bench.driver", self.system.module]
        self._driver = self._launch("driver", command, answers=path)
        self._answer()

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if "CELERY" not in name}
        # The files of each system are compiled once, as after any installation.
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        return {
            **inherited,
            "PYTHONPATH": str(self.system.root),
            "PYTHONSAFEPATH": "1",
            "REDIS_URL": self.url,
            "TASK_MODULES": "bench",
            "BENCH_REDIS": self.url,
            "BENCH_RAN": str(self.ran_file),
            "BENCH_VARIANT": self.system.variant,
            "BENCH_RESULTS": "1" if self._results else "0",
        }

    def _launch(
        self, name: str, command: list[str], *, given: str = "", answers: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        environment = self._environment()
        if answers is not None:
            environment["BENCH_ANSWERS"] = str(answers)
        with (self._children.folder / f"{name}.log").open("ab") as log:
            process = self._children.launch(
                command,
                stdin=subprocess.PIPE if given or answers else subprocess.DEVNULL,
                output=log,
                environment=environment,
                folder=self.system.root,
            )
        if given and process.stdin is not None:
            with process.stdin as pipe:
                pipe.write(given.encode())
        return process

    def _answer(self) -> dict[str, Any]:
        line = b""
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while not line.endswith(b"\n"):
            if select.select([self._answers], [], [], 0.2)[0]:
                line += os.read(self._answers.fileno(), 65536)
            elif self._driver.poll() is not None:
                raise Failed(f"its client ended: {self._log('driver')}")
            elif time.monotonic() > deadline:
                raise Failed(f"its client did not answer within {ANSWER_WITHIN_S:g} s")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def wait(self, true: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait until a condition is true. Raises `Failed` if a worker has ended."""
        deadline = time.monotonic() + within_s
        while not true():
            for worker in self._workers:
                if worker.poll() is not None:
                    raise Failed(f"its worker ended: {self._log('worker')}")
            if time.monotonic() > deadline:
                raise Failed(f"{what} took more than {within_s:g} s: {self._log('worker')}")
            time.sleep(POLL_S)

    def _log(self, name: str) -> str:
        path = Path(self._children.folder, f"{name}.log")
        text = path.read_text(errors="replace") if path.exists() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(lines[-3:]) or "it said nothing"


def cpu_s_of(process: psutil.Process) -> float:
    """Return the processor time of a process so far, including its ended children."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _peak_bytes(pid: int) -> int:
    """Return the peak memory of a process; 0 if it has ended."""
    # Not getrusage: its peak includes the memory of the parent before exec.
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    return 0

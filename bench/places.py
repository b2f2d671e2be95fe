"""The places where `bench.scaling` runs workers: processes of this machine, or containers."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from bench.environments import ROOT
from bench.scaling import Load
from bench.sessions import ANSWER_WITHIN_S, POLL_S, Failed, Session, cpu_s_of
from bench.systems import Form, System
from producer.stack import _free_ports
from shared.broker import keys

START_WITHIN_S = 120.0
THREADS = 10


class Processes:
    """A context manager that runs worker processes with their own Redis."""

    def __init__(self, system: System) -> None:
        self._session = Session(system)

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._session.__exit__(*error)

    def start(self, workers: int) -> None:
        """Start this many workers, and wait until all of them wait for tasks."""
        for _ in range(workers):
            self._session.start_worker(Form.THREADS)
        self._session.wait(
            lambda: self._session.redis.hlen(keys.WORKERS) == workers,
            START_WITHIN_S,
            f"the start of {workers} workers",
        )
        # List the processes only once: that is slow on a busy machine.
        self._processes = self._session.worker_processes()

    def fill(self, load: Load, count: int) -> None:
        """Put this many tasks into the empty queue in one call."""
        args = [] if load.seconds is None else [load.seconds]
        self._session.tell("fill", task=load.task, args=args, count=count)

    @property
    def ran(self) -> int:
        """The number of tasks that have run."""
        return self._session.ran

    def wait_until_ran(self, count: int) -> float:
        """Wait until this many tasks have run. Returns that moment."""
        return self._session.wait_until_ran(count)

    def cpu_s(self) -> tuple[float, float]:
        """Return the seconds of processor time of the workers and of Redis so far."""
        return sum(map(cpu_s_of, self._processes)), self._session.redis_numbers()["cpu"]

    def memory_bytes(self) -> int:
        """Return the memory of the workers. Shared memory counts once."""
        return self._session.worker_memory_bytes()


# Prints nanoseconds, or a line with microseconds; that depends on the kernel.
_CPU = "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || cat /sys/fs/cgroup/cpu.stat"
_MEMORY = (
    "cat /sys/fs/cgroup/memory/memory.usage_in_bytes 2>/dev/null || "
    "cat /sys/fs/cgroup/memory.current"
)


class Containers:
    """A context manager that runs containers of the service ``threads``.

    Flower is stopped meanwhile, because it would make the workers send events.
    """

    def __init__(self, image: str) -> None:
        self._image = image
        self._project = f"day-six-bench-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        if shutil.which("docker") is None:
            raise Failed("there is no docker command")
        done = subprocess.run(
            ["docker", "image", "inspect", self._image], capture_output=True, check=False
        )
        if done.returncode:
            raise Failed(f"there is no image {self._image}; docker compose build makes it")
        self._folder = Path(tempfile.mkdtemp(prefix="day-six-bench-"))
        self._folder.chmod(0o755)
        noted = self._folder / "noted"
        noted.mkdir()
        self._ran_file = noted / "ran"
        self._ran_file.touch()
        # The containers run as another user.
        self._ran_file.chmod(0o666)
        (self._folder / "override.json").write_text(json.dumps(_override(noted)))
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Failed):
            self._compose("--profile", "producer", "down", "--volumes", "--timeout", "5")
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, workers: int) -> None:
        """Start this many workers, and wait until all are healthy."""
        scale = f"threads={workers}"
        self._compose("up", "--detach", "--wait", "--no-build", "--scale", scale, "threads")
        self._compose("stop", "--timeout", "5", "flower")
        self._workers = self._compose("ps", "--quiet", "threads").split()
        self._redis = self._compose("ps", "--quiet", "redis").split()

    def fill(self, load: Load, count: int) -> None:
        """Put this many tasks into the empty queue in one call."""
        args = () if load.seconds is None else (load.seconds,)
        code = (
            "from bench.systems import day_six; "
            f"day_six.fill(day_six.{load.task}.name, {args!r}, {count})"
        )
        # Use a running container: creating one takes longer than running many tasks.
        _run(["docker", "exec", self._workers[0], "python", "-c", code])

    @property
    def ran(self) -> int:
        """The number of tasks that have run."""
        return self._ran_file.stat().st_size

    def wait_until_ran(self, count: int) -> float:
        """Wait until this many tasks have run. Returns that moment."""
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while self.ran < count:
            if time.monotonic() > deadline:
                raise Failed(f"{count} tasks took more than {ANSWER_WITHIN_S:g} s")
            time.sleep(POLL_S)
        return time.monotonic()

    def cpu_s(self) -> tuple[float, float]:
        """Return the seconds of processor time of the workers' containers and of Redis' so far."""
        workers, redis = (
            sum(map(parse_cpu, self._read(containers, _CPU)))
            for containers in (self._workers, self._redis)
        )
        return workers, redis

    def memory_bytes(self) -> int:
        """Return the memory of the workers' containers, including kernel caches."""
        return sum(map(int, self._read(self._workers, _MEMORY)))

    def _read(self, containers: list[str], script: str) -> list[str]:
        # Read all containers in parallel, because the tasks keep running.
        commands = [["docker", "exec", name, "sh", "-c", script] for name in containers]
        with ThreadPoolExecutor(len(commands)) as executor:
            return list(executor.map(_run, commands))

    def _compose(self, *arguments: str) -> str:
        files = [str(ROOT / "docker-compose.yml"), str(self._folder / "override.json")]
        command = ["docker", "compose", "--project-name", self._project, "--project-directory"]
        command += [str(ROOT), *(word for file in files for word in ("--file", file)), *arguments]
        port = str(_free_ports(1)[0])
        return _run(command, {"DAY_SIX_IMAGE": self._image, "FLOWER_PORT": port})


def parse_cpu(text: str) -> float:
    """Return the seconds in a container's ``cpu.stat`` or ``cpuacct.usage``."""
    name, *words = text.split()
    return float(words[0]) / 1e6 if name == "usage_usec" else float(name) / 1e9


def _override(noted: Path) -> dict[str, Any]:
    mounted = [f"{ROOT / 'bench'}:/app/bench:ro", f"{noted}:/noted"]
    command = ["celery", "--app=bench.systems.day_six", "worker", "--pool=threads"]
    command += ["--queues=threads", "--hostname=threads@%h", "--without-mingle"]
    return {
        "services": {
            "threads": {
                "command": [*command, f"--concurrency={THREADS}"],
                "environment": {"BENCH_RAN": "/noted/ran"},
                "volumes": mounted,
            }
        }
    }


def _run(command: list[str], more: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(more or {})},
            capture_output=True,
            text=True,
            timeout=START_WITHIN_S * 2,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command[:2])} did not end within {error.timeout:g} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise Failed(f"docker failed: {said}")
    return done.stdout

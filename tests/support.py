"""What the tests share: one patience, one wait, one free port, one Redis.

An import of this module changes nothing: children that tests spawn import it too.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis

ROOT = Path(__file__).resolve().parents[1]


def _patience(most):
    cores = os.cpu_count() or 1
    beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    crowd = max(1.0, beside / cores, os.getloadavg()[0] / cores)
    return float(os.environ.get("TEST_PATIENCE", "1")) * min(most, crowd)


# For leases, and for whatever has to be shorter or longer than one: the same all the time.
_LEASE_PATIENCE = _patience(most=2.5)


def patient(seconds):
    """A deadline in seconds, later where the machine is busy or ``TEST_PATIENCE`` says so."""
    return seconds * _patience(most=6)


def leased(seconds):
    """The length of a lease, or of a time that is compared with one."""
    return seconds * _LEASE_PATIENCE


def wait_until(true, within_s=20, what="it"):
    """The first true value of ``true()``; an AssertionError when the (patient) deadline passes."""
    began = time.monotonic()
    while not (value := true()):
        waited = time.monotonic() - began
        assert waited < patient(within_s), f"{what} did not happen within {waited:.0f} s"
        time.sleep(0.02)
    return value


def unavailable(reason):
    """Skip on a laptop, fail where everything has to be there."""
    if os.environ.get("CI") or os.environ.get("REQUIRE_DOCKER"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port():
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def redis_binary():
    """The server that `producer stack` would start; the test is skipped where there is none."""
    from producer import stack

    try:
        return stack._redis_server()
    except stack.StackFailed as error:
        return unavailable(str(error))


def local_stack(**options):
    """The stack of `producer stack`, which gets longer to start where the machine is busy.

    Without any Redis the test is skipped; whatever else keeps the stack from starting fails it.
    """
    from producer import stack

    redis_binary()
    stack.START_WITHIN_S = patient(60)
    return stack.Stack(**options)


def end_with_parent():
    """Have Linux end a child when the tests are killed; for `preexec_fn`."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


class RedisServer:
    """A running Redis on a free port, with a folder of its own and a client."""

    def __init__(self, *, persistent=False, config="", user=None, password="any"):
        binary = redis_binary()
        self.folder = Path(tempfile.mkdtemp(prefix="day-six-redis-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        # A user without a password takes any.
        login = {"username": user, "password": password} if user else {}
        self.client = redis.Redis.from_url(self.url, **login)
        self._command = [binary, "-"]
        kept = "appendonly yes\nappendfsync always" if persistent else "appendonly no"
        self._config = f'bind 127.0.0.1\nport {self.port}\ndir "{self.folder}"\nsave ""\n{kept}\n{config}'.encode()
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        """Start the server, again if it was killed; returns when it answers."""
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self.process.stdin.write(self._config)
        self.process.stdin.close()

        def answers():
            with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError):
                return self.client.ping()
            return False

        wait_until(answers, what="the start of Redis")

    def kill(self):
        """SIGKILL; what it has not written is lost."""
        self.process.kill()
        self.process.wait()

    def close(self):
        """End the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def requests(self):
        """How many scripts and blocking commands clients have sent so far."""
        statistics = self.client.info("commandstats")
        names = ("evalsha", "eval", "blpop", "blmove")
        return sum(statistics.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names)

"""Run a part of Celery's or kombu's own tests on one side, against a Redis of its own."""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.suites.exclusions import EXCLUDED
from tests.suites.sources import folder
from tests.support import ROOT, RedisServer

SIDES = ("stock", "ours")


@dataclass(frozen=True)
class Part:
    """Tests of one package: arguments for its pytest."""

    package: str
    arguments: tuple[str, ...]


# All that runs over Redis. Celery's test_backend.py wants other servers.
WHOLE = (
    Part("kombu", ("t/integration/test_redis.py", "t/integration/test_redis_brpop_qos.py")),
    Part("celery", ("t/integration", "--ignore", "t/integration/test_backend.py")),
)
# What our transport and our application change most, in well under a minute.
SHORT = (
    Part(
        "kombu",
        (
            "t/integration/test_redis.py",
            "-k",
            "test_RedisBasicFunctionality or test_RedisPriority or test_RedisMessage",
        ),
    ),
    Part(
        "celery",
        (
            "t/integration/test_tasks.py",
            "t/integration/test_inspect.py",
            "-k",
            "reject or basic_task or multiple_task or test_active or test_registered or revoked_by_headers_simple_canvas",
        ),
    ),
)


def outcomes(part, side):
    """Each test's outcome: passed, failed or skipped."""
    sources = folder(part.package)
    with RedisServer() as server, tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "outcomes.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "tests.suites.plugin", "-q"),
                *("-p", "no:cacheprovider", "--continue-on-collection-errors"),
                *("-o", "addopts=", "-o", "xfail_strict=false", *part.arguments),
            ],
            cwd=sources,
            env={
                **os.environ,
                "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
                "PYTHONPATH": os.pathsep.join([str(sources), str(ROOT)]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "SUITE_SIDE": side,
                "SUITE_OUTCOMES": str(file),
                "REDIS_URL": server.url,
                "REDIS_HOST": "127.0.0.1",
                "REDIS_PORT": str(server.port),
                "REDIS_6379_TCP": str(server.port),
                "TEST_BROKER": server.url,
                "TEST_BACKEND": server.url,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if not file.is_file():
            raise RuntimeError(f"{part.package} on {side} did not run:\n{done.stdout[-2000:]}")
        return json.loads(file.read_text(encoding="utf-8")), done.stdout


def reason(package, test):
    """Why a test is left out, or None."""
    name = f"{package}/{test}"
    return next((why for start, why in EXCLUDED.items() if name.startswith(start)), None)


def worse(package, stock, ours):
    """Tests that pass on stock and not on ours, and for which no reason is given."""
    return sorted(
        test
        for test, outcome in stock.items()
        if outcome == "passed" and ours.get(test) != "passed" and reason(package, test) is None
    )

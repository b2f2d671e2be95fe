"""Containers. Where Docker is missing these tests are skipped; in CI or with REQUIRE_DOCKER they fail."""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid

import pytest
import pytest_docker_tools.wrappers.container

from shared.pools import PoolKind
from tests.support import ROOT, free_port, patient, unavailable, wait_until

IMAGE = "day-six:test"
REDIS_IMAGE = os.environ.get("REDIS_IMAGE", "redis:8")
PYTHON_IMAGE = os.environ.get("PYTHON_IMAGE", "python:3.13-slim")
# What the Dockerfile copies, and what the compose file mounts.
SOURCES = ("shared", "worker", "producer", "examples", "requirements")


@functools.cache
def why_no_docker():
    """Why these tests cannot run here; empty where they can."""
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        if shutil.which(command[0]) is None:
            return "there is no docker command"
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return f"`{' '.join(command)}` fails: is the Engine running?"
    return ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if reason := why_no_docker():
        unavailable(reason)


def run(*command, within_s=120, **options):
    """A command's standard output; an AssertionError with all it said when it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patient(within_s), check=False, **options
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def health(container):
    """What Docker says of a container's health."""
    return run("docker", "inspect", "--format", "{{.State.Health.Status}}", container).strip()


def freeze(container, signal="STOP"):
    """Stop (or CONT) the worker inside, not the small init process that is its parent."""
    script = f"kill -{signal} $(cat /proc/1/task/1/children)"
    run("docker", "exec", container, "sh", "-c", script)


def producer(url, *arguments):
    """A command of the producer on this machine, with that Redis."""
    return subprocess.run(
        [sys.executable, "-m", "producer", *arguments],
        capture_output=True,
        text=True,
        timeout=int(patient(60)),
        check=False,
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": url, "TASK_MODULES": "examples"},
    )


@contextlib.contextmanager
def local_workers(url, logs, *more):
    """A worker of each kind on this machine, with that Redis, and other commands of Celery's."""
    celery = (sys.executable, "-m", "celery", "-A", "worker")
    commands = [
        (
            *("worker", "--pool", kind.value, "--queues", kind.value),
            *("--concurrency", "2", "--hostname", f"{kind.value}@%h"),
        )
        for kind in PoolKind
    ]
    running = []
    for number, command in enumerate([*commands, *more]):
        with (logs / f"{number}.log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [*celery, *command],
                    env={**os.environ, "REDIS_URL": url, "TASK_MODULES": "examples"},
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                    process_group=0,
                )
            )

    def all_alive():
        states = json.loads(producer(url, "status", "--json").stdout)
        return sum(state["workers"] for state in states) == len(PoolKind)

    try:
        wait_until(all_alive, within_s=60, what="three workers are alive")
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(patient(30))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


class Compose:
    """``docker compose`` for one project of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.project = f"day-six-test-{uuid.uuid4().hex[:8]}"
        self.flower_port = free_port()
        self.metrics_port = free_port()
        self.environment = {
            # Neither this machine's settings nor its .env: the file as it is.
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **{name: value for name, value in os.environ.items() if name.startswith("DOCKER_")},
            "COMPOSE_PROJECT_NAME": self.project,
            "DAY_SIX_IMAGE": IMAGE,
            "REDIS_IMAGE": REDIS_IMAGE,
            "PYTHON_IMAGE": PYTHON_IMAGE,
            "FLOWER_PORT": str(self.flower_port),
            "METRICS_PORT": str(self.metrics_port),
        }

    def command(self, *arguments):
        return ["docker", "compose", "--env-file", os.devnull, *arguments]

    def __call__(self, *arguments, **options):
        return run(*self.command(*arguments), cwd=self.directory, env=self.environment, **options)

    def start(self, *arguments, **options):
        """Start a command and leave it running."""
        return subprocess.Popen(
            self.command(*arguments), cwd=self.directory, env=self.environment, **options
        )

    def producer(self, *arguments, **options):
        return self("run", "--rm", "-T", "producer", *arguments, **options)

    def python(self, script, **options):
        """Run a script where the producer would run."""
        return self(
            "run", "--rm", "-T", "--entrypoint", "python", "producer", "-c", script, **options
        )

    def containers(self, *services):
        """The numbers of the running containers."""
        return self("ps", "--quiet", *services).split()

    def login(self):
        """Flower's user and password, as `passwords show` prints them."""
        lines = self("run", "--rm", "-T", "passwords", "show").splitlines()
        return tuple(line.split(maxsplit=1)[1] for line in lines[-2:])


@pytest.fixture(scope="session")
def image():
    """Our image, built once."""
    build = ["docker", "build", "--tag", IMAGE, "--build-arg", f"PYTHON_IMAGE={PYTHON_IMAGE}"]
    run(*build, str(ROOT), within_s=300, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    return IMAGE


@pytest.fixture(scope="session")
def compose_file():
    """The compose file as Compose understands it, profiles included."""
    text = Compose(ROOT)("--profile", "*", "config", "--format", "json")
    # `config` writes a dollar sign as a compose file would: twice.
    return json.loads(text.replace("$$", "$"))


@pytest.fixture(scope="session", autouse=True)
def reach_containers_through_published_ports():
    # Where the tests run in a container beside the Engine (there is a /.dockerenv),
    # pytest-docker-tools gives a container's own port with an address of this machine.
    patch = pytest.MonkeyPatch()
    patch.setattr(pytest_docker_tools.wrappers.container, "tests_inside_container", lambda: False)
    yield
    patch.undo()

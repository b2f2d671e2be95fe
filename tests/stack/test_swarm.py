"""The stack file on a Swarm of one host: every service comes up, and each pool runs a task."""

import json
import os
import subprocess
import sys
import uuid

import pytest

from shared.pools import PoolKind
from tests.stack.conftest import REDIS_IMAGE, ROOT, health, run
from tests.support import unavailable, wait_until

SERVICES = {"redis", "flower", "metrics", *(kind.value for kind in PoolKind)}


def swarm_state():
    return run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip()


@pytest.fixture(scope="module")
def swarm():
    """A Swarm of this Engine alone, for as long as the test takes."""
    if swarm_state() != "inactive":
        pytest.skip("this Engine is in a Swarm already, which is left alone")
    if not os.environ.get("REQUIRE_DOCKER"):
        pytest.skip("makes this Engine a Swarm for a minute: only with REQUIRE_DOCKER")
    try:
        run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    except AssertionError as error:
        unavailable(f"this Engine makes no Swarm: {error}")
    try:
        yield
    finally:
        run("docker", "swarm", "leave", "--force")


@pytest.fixture(scope="module")
def stack(swarm, image, tmp_path_factory):
    """The deployed stack's name."""
    folder = tmp_path_factory.mktemp("deploy")
    passwords = folder / "passwords"
    passwords.mkdir()
    subprocess.run(
        [sys.executable, "-m", "shared.passwords", "make"],
        check=True,
        cwd=ROOT,
        env={
            **os.environ,
            "REDIS_PASSWORD_FILE": str(passwords / "redis" / "password"),
            "FLOWER_PASSWORD_FILE": str(passwords / "flower" / "password"),
        },
    )
    (folder / "swarm.yml").write_text((ROOT / "deploy" / "swarm.yml").read_text())
    node = run("docker", "node", "ls", "--quiet").strip()
    run("docker", "node", "update", "--label-add", "day-six-redis=true", node)
    name = f"day-six-{uuid.uuid4().hex[:8]}"
    environment = {**os.environ, "DAY_SIX_IMAGE": image, "REDIS_IMAGE": REDIS_IMAGE}
    deploy = ["stack", "deploy", "--compose-file", str(folder / "swarm.yml"), name]
    # No registry has the image of the test.
    subprocess.run(
        ["docker", *deploy, "--resolve-image", "never"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield name
    finally:
        run("docker", "stack", "rm", name)
        wait_until(lambda: not containers(name), within_s=120, what="the containers are gone")
        wait_until(lambda: removed(f"{name}_redis-data"), within_s=60, what="the volume is gone")


def containers(stack, service=""):
    label = f"label=com.docker.stack.namespace={stack}"
    names = ["--filter", f"label=com.docker.swarm.service.name={stack}_{service}"]
    return run("docker", "ps", "-q", "--filter", label, *(names if service else [])).split()


def removed(volume):
    # Refused as long as a container is still being removed.
    subprocess.run(["docker", "volume", "rm", volume], capture_output=True, check=False)
    return volume not in run("docker", "volume", "ls", "--quiet").split()


def healthy(stack, service):
    return [health(container) for container in containers(stack, service)] == ["healthy"]


def test_every_service_comes_up_and_each_pool_runs_a_task(stack):
    for service in sorted(SERVICES):
        wait_until(lambda s=service: healthy(stack, s), within_s=120, what=f"{service} is healthy")

    (metrics,) = containers(stack, "metrics")
    for kind in PoolKind:
        sent = ["producer", "send", "sleep", "0", "--pool", kind.value, "--wait", "--json"]
        done = json.loads(run("docker", "exec", metrics, *sent, "--timeout", "60"))
        assert done, kind

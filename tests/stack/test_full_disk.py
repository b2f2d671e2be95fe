"""A Redis whose disk is full: workers and producers are told, wait, and go on."""

import json
import uuid

import pytest
import redis

from shared.pools import PoolKind
from tests.stack.conftest import REDIS_IMAGE, local_workers, producer, run
from tests.support import free_port, wait_until

TASKS = 4  # twice as many as run at once


@pytest.fixture
def disk():
    """A Redis with a disk of a few MiB: its container and its port."""
    name, port = f"day-six-disk-{uuid.uuid4().hex[:8]}", free_port()
    options = ["--publish", f"127.0.0.1:{port}:6379", "--tmpfs", "/data:size=4m,mode=1777"]
    command = ["redis-server", "--appendonly", "yes", "--save", ""]
    run("docker", "run", "--detach", "--name", name, *options, REDIS_IMAGE, *command)
    try:
        yield name, port
    finally:
        run("docker", "rm", "--force", "--volumes", name)


def writes(client):
    try:
        return client.set("anything", b"x" * 1000)
    except (redis.ConnectionError, redis.ResponseError):
        return False


def states(url, ids):
    return [json.loads(producer(url, "result", one, "--json").stdout)["state"] for one in ids]


def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(disk, tmp_path):
    name, port = disk
    url = f"redis://127.0.0.1:{port}/0"
    client = redis.Redis(port=port)
    wait_until(lambda: writes(client), within_s=20, what="Redis answers")
    with local_workers(url, tmp_path) as workers:
        ids = []
        for kind in PoolKind:
            words = ("sleep", "3", "--pool", kind.value, "--count", str(TASKS), "--json")
            ids += json.loads(producer(url, "send", *words).stdout)["ids"]
        wait_until(
            lambda: "STARTED" in states(url, ids[-1:] + ids[:1]), within_s=20, what="they run"
        )

        # As much as there is room for, and a little more.
        run("docker", "exec", name, "sh", "-c", "! dd if=/dev/zero of=/data/filler bs=1k 2>&1")
        wait_until(lambda: not writes(client), within_s=20, what="the disk is full")
        refused = producer(url, "send", "sleep", "0")
        # What runs ends meanwhile, and cannot say so.
        log = tmp_path / "1.log"
        wait_until(
            lambda: "No space left on device" in log.read_text(),
            within_s=30,
            what="an outcome waits",
        )
        run("docker", "exec", name, "rm", "/data/filler")

        wait_until(lambda: set(states(url, ids)) == {"SUCCESS"}, within_s=60, what="all are done")
        assert [process.poll() for process in workers] == [None] * len(PoolKind)

    assert refused.returncode == 1
    assert "No space left on device" in refused.stderr
    assert refused.stderr.count("\n") == 1

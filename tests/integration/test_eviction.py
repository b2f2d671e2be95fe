"""A Redis that may evict keys is warned of: once, in one line, where it can be known."""

import os
import subprocess
import sys

import pytest

from shared.pools import PoolKind
from tests.support import RedisServer, end_with_parent, wait_until

SAFE = ["", "maxmemory-policy noeviction\n", "maxmemory 400mb\nmaxmemory-policy noeviction\n"]
EVICTING = ["allkeys-lru", "volatile-ttl"]
WITHOUT_CONFIG = "maxmemory-policy allkeys-lru\nuser default on nopass ~* &* +@all -config"
SILENT = f"{WITHOUT_CONFIG} -info\n"


def status(url, *words):
    return subprocess.run(
        [sys.executable, "-m", "producer", "status", *words],
        env={**os.environ, "REDIS_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("policy", EVICTING)
@pytest.mark.parametrize(
    "config",
    ["maxmemory-policy {}\n", "maxmemory-policy {}\n" + WITHOUT_CONFIG.partition("\n")[2] + "\n"],
)
def test_status_warns_of_a_redis_that_may_evict(policy, config):
    with RedisServer(config=config.format(policy)) as server:
        done = status(server.url, "--json")

    (line,) = done.stderr.splitlines()
    assert done.returncode == 0
    assert f"may evict keys (maxmemory-policy {policy})" in line
    assert "noeviction" in line


@pytest.mark.parametrize("config", [*SAFE, SILENT])
def test_status_says_nothing_where_redis_keeps_all_or_does_not_tell(config):
    with RedisServer(config=config) as server:
        done = status(server.url)

    assert done.returncode == 0
    assert done.stderr == ""


def test_each_worker_warns_once_as_it_starts(tmp_path):
    logs = {kind.value: tmp_path / kind.value for kind in PoolKind}
    with RedisServer(config="maxmemory-policy allkeys-lfu\n") as server:
        running = []
        for pool, log in logs.items():
            words = ["worker", "--pool", pool, "-Q", pool, "-n", f"{pool}@here", "-c1"]
            with log.open("wb") as output:
                running.append(
                    subprocess.Popen(
                        [
                            sys.executable,
                            "-m",
                            "celery",
                            "-A",
                            "worker",
                            *words,
                            "--without-mingle",
                        ],
                        env={**os.environ, "REDIS_URL": server.url},
                        stdout=output,
                        stderr=output,
                        preexec_fn=end_with_parent,
                    )
                )
        try:
            for log in logs.values():
                wait_until(lambda log=log: "may evict keys" in log.read_text(), within_s=60)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()

    assert [log.read_text().count("may evict keys") for log in logs.values()] == [1, 1, 1]

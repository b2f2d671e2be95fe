"""Cancelled tasks stay so when workers restart; tasks that ask for it are tried again."""

import json
import os
import subprocess
import sys

import pytest

from shared.pools import PoolKind
from tests.chaos.bench import QUEUE, Bench
from tests.support import patient, wait_until


def state_of(bench, task_id):
    stored = bench.client.get(f"celery-task-meta-{task_id}")
    return json.loads(stored)["status"] if stored else None


def ids(bench):
    return [json.loads(text)["headers"]["id"] for text in bench.client.lrange(QUEUE, 0, -1)]


def cancel(bench, task_id):
    return subprocess.run(
        [sys.executable, "-m", "producer", "cancel", task_id],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
        env={**os.environ, "REDIS_URL": f"{bench.url}/0"},
    )


@pytest.mark.parametrize("pool", [kind.value for kind in PoolKind])
def test_what_was_cancelled_while_no_worker_was_there_never_runs(pool):
    with Bench() as bench:
        bench.send(3)
        cancelled = ids(bench)[1]

        done = cancel(bench, cancelled)
        bench.worker(pool)

        assert done.returncode == 0, done.stderr
        wait_until(lambda: state_of(bench, cancelled) == "REVOKED", 30, "the cancelled task's end")
        wait_until(lambda: bench.done() == 2, 20, "the other two")
        assert bench.account()["dead"] == 0


def test_what_fails_is_tried_again_later_each_time():
    with Bench() as bench:
        bench.send(1, task="flaky", arguments=[2])
        (task_id,) = ids(bench)
        bench.worker("prefork")

        wait_until(
            lambda: state_of(bench, task_id) == "SUCCESS", 30, "success at the third attempt"
        )

        attempts = [entry.split() for entry in bench.notes.lrange("attempts", 0, -1)]
        assert [int(number) for number, _ in attempts] == [0, 1, 2]
        assert bench.letters() == []


def test_what_fails_for_the_last_time_is_a_dead_letter():
    with Bench() as bench:
        bench.send(1, task="flaky", arguments=[9])
        (task_id,) = ids(bench)
        bench.worker("threads")

        wait_until(bench.letters, 30, "the dead letter")

        (letter,) = bench.letters()
        assert letter["id"] == task_id
        assert "ConnectionError: not yet" in letter["reason"]
        assert bench.notes.llen("attempts") == 3
        wait_until(lambda: state_of(bench, task_id) == "FAILURE", 5, "its stored outcome")

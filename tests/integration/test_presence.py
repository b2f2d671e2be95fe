"""What workers say of themselves: each process for itself, with the queues that it consumes."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from tests.chaos.bench import Bench
from tests.support import ROOT, wait_until


@pytest.fixture
def bench():
    with Bench(lease_s=5.0) as running:
        yield running


def producer(bench, *words):
    return subprocess.run(
        [sys.executable, "-m", "producer", *words],
        env={**os.environ, "REDIS_URL": f"{bench.url}/0", "COLUMNS": "200"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def status(bench):
    return {row["pool"]: row for row in json.loads(producer(bench, "status", "--json").stdout)}


def lines(bench):
    found = []
    for line in bench.client.hvals("workers"):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def test_each_worker_counts_for_the_queues_that_it_consumes(bench):
    # Two workers with one name on one host, one of which takes from two queues.
    bench.worker("threads", 4, queues="prefork,threads", name="same@%h")
    bench.worker("prefork", 2, queues="prefork", name="same@%h")
    wait_until(lambda: len(lines(bench)) == 2, 60, "both workers")
    for queue in ("prefork", "threads"):
        producer(bench, "send", "sleep", "6", "--pool", queue)
    wait_until(lambda: sum(line["running"] for line in lines(bench)) == 2, 20, "the tasks")

    found = status(bench)
    listening = producer(bench, "send", "sleep", "0", "--pool", "threads")
    deaf = producer(bench, "send", "sleep", "0", "--pool", "gevent")

    assert [found[pool]["workers"] for pool in ("prefork", "threads", "gevent")] == [2, 1, 0]
    assert [found[pool]["concurrency"] for pool in ("prefork", "threads")] == [6, 4]
    assert [found[pool]["running"] for pool in ("prefork", "threads")] == [1, 1]
    assert "no threads worker" not in listening.stderr
    assert "no gevent worker" in deaf.stderr
    metrics = producer(bench, "metrics").stdout
    assert 'day_six_workers{queue="prefork"} 2.0' in metrics


def test_what_a_worker_is_told_to_consume_later_counts_too(bench):
    worker = bench.worker("threads", 2, queues="threads")
    wait_until(lambda: lines(bench), 60, "the worker")

    bench.control("add_consumer", "gevent")
    wait_until(lambda: set(lines(bench)[0]["queues"]) == {"threads", "gevent"}, 20, "the news")
    bench.control("cancel_consumer", "threads")
    wait_until(lambda: lines(bench)[0]["queues"] == ["gevent"], 20, "the news")

    assert [status(bench)[pool]["workers"] for pool in ("threads", "gevent")] == [0, 1]
    assert worker.poll() is None


def test_lines_of_older_workers_and_lines_that_are_none_do_no_harm(bench):
    now = int(bench.client.time()[0])
    old = {"name": "old@there", "pool": "threads", "concurrency": 3, "pid": 1, "running": 2}
    bench.client.hset("workers", "old@there", json.dumps({**old, "until": now + 60}))
    bench.client.hset("workers", "long gone", json.dumps({**old, "until": now - 3600}))
    for number, text in enumerate(("", "[]", '{"until": "x"}', '{"until": 9e99}', "\xff", "nan")):
        bench.client.hset("workers", f"odd {number}", text)
    bench.client.hset("workers", b"\xff\xfe", b"\xff\xfe")

    before = status(bench)["threads"]
    worker = bench.worker("threads", 2, queues="threads")
    wait_until(lambda: status(bench)["threads"]["workers"] == 2, 60, "the worker")

    assert (before["workers"], before["concurrency"], before["running"]) == (1, 3, 2)
    assert status(bench)["threads"]["concurrency"] == 5
    assert not bench.client.hexists("workers", "long gone")
    worker.terminate()
    wait_until(lambda: status(bench)["threads"]["workers"] == 1, 30, "its end")


def test_a_worker_that_is_stopped_and_one_that_was_killed_are_not_there_any_more(bench):
    bench.worker("threads", 2, queues="threads")
    wait_until(lambda: status(bench)["threads"]["workers"] == 1, 60, "the worker")

    bench.kill(bench.workers[0])

    wait_until(lambda: status(bench)["threads"]["workers"] == 0, 20, "the end of its line")

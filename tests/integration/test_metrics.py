"""`producer metrics`: what Prometheus is told, read with its own parser."""

import subprocess
import sys
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from producer import metrics
from shared import publishing
from shared.broker import keys, presence
from tests.chaos.bench import Bench
from tests.support import free_port, patient, wait_until


def samples(text):
    """Every figure by its name and queue."""
    return {
        (sample.name, sample.labels.get("queue")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def exporter(stack):
    """A running exporter's address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "producer", "metrics", "--serve", str(port)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert f"http://127.0.0.1:{port}/metrics" in process.stderr.readline()
    yield f"http://127.0.0.1:{port}/metrics"
    process.terminate()
    process.wait(patient(10))
    process.stderr.close()


def test_queues_their_age_workers_and_dead_letters_are_told(stack, exporter):
    before = samples(metrics.text())
    workers = {worker.pool: worker.concurrency for worker in presence.workers()}

    with urllib.request.urlopen(exporter, timeout=patient(10)) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        told = samples(response.read().decode())

    assert told["day_six_up", None] == 1
    assert told["day_six_worker_places", "prefork"] == workers["prefork"]
    assert told["day_six_dead_letters", "threads"] == before["day_six_dead_letters", "threads"]
    assert told["day_six_queue_length", "gevent"] == 0
    assert ("day_six_queue_oldest_seconds", "gevent") not in told


def test_the_message_at_the_front_tells_how_long_it_waits(stack):
    places = {worker.pool: worker.concurrency for worker in presence.workers()}["prefork"]
    template = publishing.Template("sleep", "prefork", ignore_result=True)
    rounds = [template.render(f"waits-{n}", [1.0], {}) for n in range(2 * places)]
    publishing.push("prefork", rounds)
    sent = time.time()

    told = {}

    def aged():
        told.update(samples(metrics.text()))
        return told.get(("day_six_queue_oldest_seconds", "prefork"), 0.0) > 0.5

    wait_until(aged, 10, "a message that has waited for half a second")
    assert told["day_six_queue_oldest_seconds", "prefork"] <= time.time() - sent + 0.5
    assert told["day_six_queue_length", "prefork"] > 0
    wait_until(
        lambda: samples(metrics.text())["day_six_queue_length", "prefork"] == 0,
        20,
        "an empty queue",
    )


def test_a_scrape_without_redis_says_so(stack):
    port, closed = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "producer", "metrics", "--serve", str(port)],
        stderr=subprocess.PIPE,
        text=True,
        env={"REDIS_URL": f"redis://127.0.0.1:{closed}/0"},
    )
    try:
        process.stderr.readline()
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics", timeout=patient(30)
        ) as response:
            assert samples(response.read().decode()) == {("day_six_up", None): 0}
    finally:
        process.terminate()
        process.wait(patient(10))
        process.stderr.close()


def test_a_port_that_is_taken_is_one_line(stack, exporter):
    port = exporter.rpartition(":")[2].partition("/")[0]
    done = subprocess.run(
        [sys.executable, "-m", "producer", "metrics", "--serve", port],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_killed_workers_lease_is_counted_once():
    with Bench(lease_s=2.0) as bench:
        worker = bench.worker("threads")
        bench.send(5)
        wait_until(bench.done, 30, "a first task")
        bench.kill(worker)
        for _ in range(2):
            bench.worker("threads")

        def lost():
            return int(bench.client.hget(keys.COUNTS, keys.LEASES_LOST) or 0)

        wait_until(lost, 30, "the lost lease")
        wait_until(lambda: bench.done() == 5, 30, "the rest")
        assert lost() == 1

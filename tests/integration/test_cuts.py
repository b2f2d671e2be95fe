"""All connections of a worker are cut under load: nothing waits for a lease, nothing runs twice."""

import time

import pytest

from tests.chaos import answers
from tests.chaos.bench import QUEUE, Bench
from tests.support import patient, wait_until

POOLS = ("prefork", "threads", "gevent")
CONFIG = "maxclients 10000"
# So long that nothing may wait for the end of one.
LEASE_S = 120.0


@pytest.fixture(scope="module")
def bench():
    """A worker of each pool, each on a queue of its own."""
    with Bench(config=CONFIG, lease_s=LEASE_S) as bench:
        for pool in POOLS:
            bench.worker(pool, 4, queues=f"{QUEUE}-{pool}")
        yield bench


def ran(bench):
    return {int(number): int(times) for number, times in bench.notes.hgetall("ran").items()}


@pytest.mark.parametrize("pool", POOLS)
def test_what_a_cut_worker_had_taken_is_run_at_once(bench, pool):
    first = 1_000 * POOLS.index(pool)
    for number in range(first, first + 200):
        bench.send(1, task="mark", queue=f"{QUEUE}-{pool}", arguments=[number, 0.02])
    wait_until(lambda: ran(bench).keys() & {first}, 60, "a first task")

    for _ in range(8):
        answers.cut(bench.client)
        time.sleep(0.1)
    began = time.monotonic()
    wait_until(
        lambda: len(ran(bench).keys() & set(range(first, first + 200))) == 200, 60, "all of them"
    )

    assert time.monotonic() - began < patient(20)
    assert {number: times for number, times in ran(bench).items() if times > 1} == {}
    wait_until(lambda: not bench.taken(), 20, "the last acknowledgement")


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_that_runs_while_its_worker_is_cut_runs_once_and_is_acknowledged(bench, pool):
    first = 100_000 + 1_000 * POOLS.index(pool)
    numbers = set(range(first, first + 12))
    for number in numbers:
        bench.send(1, task="mark", queue=f"{QUEUE}-{pool}", arguments=[number, 1.0])
    wait_until(lambda: len(bench.taken()) >= 4, 30, "the first ones")
    time.sleep(0.3)  # they run

    answers.cut(bench.client)
    wait_until(lambda: numbers <= ran(bench).keys(), 60, "all of them")
    wait_until(lambda: not bench.taken(), 20, "the last acknowledgement")

    assert [ran(bench)[number] for number in sorted(numbers)] == [1] * 12

"""The threads pool: its threads outlive whatever their tasks raise."""

import queue
import threading

import pytest
from billiard.exceptions import WorkerLostError
from celery.exceptions import WorkerShutdown

from tests.support import patient, wait_until
from worker.pools.threads import TaskPool


@pytest.fixture
def pool():
    """A pool of one thread."""
    pool = TaskPool(limit=1)
    pool.start()
    yield pool
    pool.stop()


def run(pool, target):
    """What the pool says of a task: its value, or its error."""
    said = queue.Queue()
    pool.apply_async(
        target,
        callback=said.put,
        accept_callback=lambda *_: None,
        error_callback=lambda info: said.put(info.exception.exc),
    )
    return said.get(timeout=patient(5))


@pytest.mark.parametrize("error", [SystemExit(3), WorkerShutdown(0), ValueError("no")])
def test_a_task_that_leaves_its_thread_is_lost_and_the_thread_goes_on(pool, error):
    def leave():
        raise error

    said = run(pool, leave)

    assert isinstance(said, WorkerLostError)
    assert repr(error) in str(said)
    assert run(pool, lambda: 2) == 2


def test_a_pool_stops_though_a_thread_takes_the_last_task_meanwhile(pool):
    class Raced(queue.SimpleQueue):
        def empty(self):
            return False

    pool._tasks = Raced()

    pool.stop()

    assert pool._state == pool.TERMINATE


def test_a_pool_that_shrinks_loses_idle_threads_at_once_and_busy_ones_after_their_task(pool):
    pool.grow(3)
    gate, said = threading.Event(), queue.Queue()
    for _ in range(4):
        pool.apply_async(
            lambda: gate.wait(patient(5)), callback=said.put, accept_callback=lambda *_: None
        )
    pool.shrink(3)
    assert pool.info["threads"] == 4

    gate.set()
    wait_until(lambda: pool.info["threads"] == 1)
    pool.grow(1)
    for _ in range(2):
        run(pool, lambda: None)
    wait_until(lambda: pool.info["threads"] == 2)
    pool.shrink(1)
    wait_until(lambda: pool.info["threads"] == 1)
    assert run(pool, lambda: 2) == 2


def test_a_pool_does_not_shrink_below_nothing_and_a_pool_of_nothing_grows(pool):
    with pytest.raises(ValueError, match="only 1 thread"):
        pool.shrink(2)
    pool.shrink(1)
    said = queue.Queue()
    pool.apply_async(lambda: 3, callback=said.put, accept_callback=lambda *_: None)

    pool.grow(1)

    assert said.get(timeout=patient(5)) == 3

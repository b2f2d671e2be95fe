"""The threads pool: its threads outlive whatever their tasks raise."""

import queue

import pytest
from billiard.exceptions import WorkerLostError
from celery.exceptions import WorkerShutdown

from tests.support import patient
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

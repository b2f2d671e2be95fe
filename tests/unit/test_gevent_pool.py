"""The gevent pool: its greenlets outlive their tasks, and no task meets another's end."""

import contextvars

import gevent
import gevent.event
import pytest
from billiard.exceptions import WorkerLostError

from tests.support import patient
from worker.pools.gevent import TaskPool

told = contextvars.ContextVar("told", default="nothing")


@pytest.fixture
def pool():
    """A pool of one greenlet."""
    pool = TaskPool(limit=1)
    pool.start()
    yield pool
    pool.stop()


def start(pool, target, *args, **options):
    """Its end to come, and its number."""
    ended, begun = gevent.event.AsyncResult(), gevent.event.AsyncResult()
    pool.apply_async(
        target, args, callback=ended.set, accept_callback=lambda pid, _: begun.set(pid), **options
    )
    return ended, begun


def run(pool, target, *args):
    return start(pool, target, *args)[0].get(timeout=patient(5))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_task_that_leaves_its_greenlet_is_lost_and_the_greenlet_goes_on(pool, error):
    def leave():
        raise error

    said = run(pool, leave).exception.exc

    assert isinstance(said, WorkerLostError)
    assert repr(error) in str(said)
    assert run(pool, lambda: 2) == 2


def test_tasks_that_wait_run_beside_each_other_up_to_the_limit(pool):
    pool.grow(2)
    gate, running = gevent.event.Event(), []

    def wait(number):
        running.append(number)
        gate.wait(patient(5))

    ends = [start(pool, wait, number)[0] for number in range(5)]
    gevent.sleep(0)
    assert running == [0, 1, 2]

    gate.set()
    gevent.joinall([gevent.spawn(end.get, timeout=patient(5)) for end in ends], raise_error=True)
    assert sorted(running) == [0, 1, 2, 3, 4]


def test_a_pool_that_shrinks_has_fewer_greenlets_once_they_have_run(pool):
    pool.grow(2)
    for end in [start(pool, gevent.sleep, 0)[0] for _ in range(3)]:
        end.get(timeout=patient(5))

    pool.shrink(2)
    for _ in range(4):
        run(pool, gevent.sleep, 0)

    assert len(pool._greenlets) == 1


def test_a_task_is_ended_and_the_next_one_in_its_greenlet_is_not(pool):
    ended, begun = start(pool, gevent.sleep, 60)
    number = begun.get(timeout=patient(5))

    pool.terminate_job(number)
    assert ended.get(timeout=patient(5)) == (False, None, None)

    pool.terminate_job(number)
    assert run(pool, lambda: gevent.sleep(0.01) or "slept") == "slept"


def test_a_task_that_takes_too_long_is_told_of(pool):
    late = []

    ended, _ = start(
        pool, gevent.sleep, 60, timeout=0.01, timeout_callback=lambda *said: late.append(said)
    )

    assert run(pool, lambda: 2) == 2
    assert late == [(False, 0.01)]
    assert not ended.ready()


def test_what_a_task_sets_in_its_context_is_its_own(pool):
    assert run(pool, lambda: told.set("a secret") and told.get()) == "a secret"
    assert run(pool, told.get) == "nothing"


def test_a_pool_that_stops_ends_what_runs_and_begins_nothing_else(pool):
    first, begun = start(pool, lambda: gevent.sleep(0.01) or "slept")
    second, _ = start(pool, lambda: "begun")
    begun.get(timeout=patient(5))

    pool.stop()

    assert first.get(timeout=0) == "slept"
    assert not second.ready()

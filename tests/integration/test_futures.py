"""Executors over real workers: genuine futures."""

import asyncio
import concurrent.futures as standard
import itertools
import time

import pytest

from shared import multiprocessing
from shared.futures import ClusterExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from shared.pools import PoolKind
from tests.integration import process_functions as functions
from tests.support import patient, wait_until

KINDS = list(PoolKind)


@pytest.mark.parametrize("kind", KINDS)
def test_results_come_through_every_tool_of_the_standard_library(stack, kind):
    with ClusterExecutor(3, kind=kind) as executor:
        futures = [executor.submit(functions.double, n) for n in range(6)]

        done, pending = standard.wait(futures, timeout=patient(30))
        completed = {future.result() for future in standard.as_completed(futures)}

    assert all(isinstance(future, standard.Future) for future in futures)
    assert len(done) == 6
    assert not pending
    assert completed == {0, 2, 4, 6, 8, 10}


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_keeps_the_order_with_several_iterables(stack, chunksize):
    with ProcessPoolExecutor(3) as executor:
        values = list(
            executor.map(functions.add, range(10), range(0, 100, 10), chunksize=chunksize)
        )

    assert values == [11 * n for n in range(10)]


def test_map_with_a_buffer_takes_from_an_endless_iterable_only_what_it_needs(stack):
    taken = []

    def numbers():
        for n in itertools.count():
            taken.append(n)
            yield n

    with ThreadPoolExecutor(2) as executor:
        values = list(itertools.islice(executor.map(functions.double, numbers(), buffersize=4), 10))

    assert values == [2 * n for n in range(10)]
    assert len(taken) <= 15


def test_map_raises_timeout_and_the_error_of_a_call(stack):
    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(TimeoutError):
            list(executor.map(functions.slow, [2], timeout=0.2))
        with pytest.raises(KeyError):
            list(executor.map(functions.boom, [1]))


def test_what_no_worker_has_taken_can_be_cancelled_and_never_runs(stack, tmp_path):
    path = tmp_path / "ran"
    with ProcessPoolExecutor(2) as executor:
        busy = [executor.submit(functions.slow, 1) for _ in range(2)]
        waiting = [executor.submit(functions.append, str(path), "x") for _ in range(3)]
        while not all(future.running() for future in busy):
            time.sleep(0.01)

        cancelled = [future.cancel() for future in waiting]

    assert cancelled == [True, True, True]
    assert all(future.cancelled() for future in waiting)
    assert not path.exists()


@pytest.mark.parametrize("sent", [True, False])
def test_who_waits_for_a_call_hears_that_it_was_cancelled(stack, tmp_path, sent):
    path = tmp_path / "ran"
    places = multiprocessing.cpu_count()
    # Of the calls that have no place at a worker, some are in the queue, or none are.
    with ProcessPoolExecutor(places + 2 if sent else places) as executor:
        busy = [executor.submit(functions.slow, patient(4)) for _ in range(places)]
        calls = [executor.submit(functions.append, str(path), "x") for _ in range(2)]
        expected = [True] * places + [sent] * 2
        wait_until(lambda: [future.running() for future in busy + calls] == expected, 3)
        waiters = standard.ThreadPoolExecutor(2)
        all_done = waiters.submit(standard.wait, calls, patient(3))
        each = waiters.submit(
            lambda: [f.cancelled() for f in standard.as_completed(calls, patient(3))]
        )

        assert [future.cancel() for future in calls] == [True, True]
        assert all_done.result().done == set(calls)
        assert each.result() == [True, True]

    assert not path.exists()


def test_a_running_call_is_not_cancelled(stack, tmp_path):
    path = tmp_path / "runs"
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit(functions.touch_and_wait, str(path), 0.5)
        wait_until(path.exists, what="the start of the call")

        cancelled = future.cancel()

    assert not cancelled
    assert future.result() == 0.5


def test_leaving_the_block_waits_for_what_was_submitted(stack):
    with ThreadPoolExecutor(1) as executor:
        futures = [executor.submit(functions.slow, 0.1) for _ in range(5)]

    assert all(future.done() and not future.cancelled() for future in futures)


def test_shutdown_can_cancel_what_has_not_begun(stack):
    executor = ThreadPoolExecutor(1)
    futures = [executor.submit(functions.slow, 0.3) for _ in range(5)]
    time.sleep(0.1)

    executor.shutdown(cancel_futures=True)

    assert futures[-1].cancelled()
    assert all(future.done() for future in futures)


def test_after_shutdown_nothing_is_accepted(stack):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(functions.double, 1)

    assert executor._pool._state != "RUN"


@pytest.mark.parametrize("kind", KINDS)
def test_an_initializer_runs_once_in_a_process_and_the_tasks_see_what_it_set(stack, kind):
    with ClusterExecutor(2, functions.remember, ("seen",), kind=kind) as executor:
        values = list(executor.map(functions.remembered, range(10)))

    assert {value for value, _ in values} == {"seen"}
    assert {times for _, times in values} == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_initializer_breaks_the_executor_with_its_error(stack, kind):
    executor = ClusterExecutor(2, functions.boom, (9,), kind=kind)

    with pytest.raises(standard.BrokenExecutor) as broken:
        executor.submit(functions.double, 1).result(patient(20))
    with pytest.raises(standard.BrokenExecutor):
        executor.submit(functions.double, 1)

    assert isinstance(broken.value.__cause__, KeyError)


@pytest.mark.parametrize("kind", KINDS)
def test_a_coroutine_function_can_be_a_task_and_results_can_be_awaited(stack, kind):
    async def main():
        with ClusterExecutor(4, kind=kind) as executor, multiprocessing.Pool(2, kind=kind) as pool:
            one = await executor.submit(functions.wait_a_little, 1)
            many = await asyncio.gather(
                *(
                    asyncio.wrap_future(executor.submit(functions.wait_a_little, n))
                    for n in range(4)
                )
            )
            return one, many, await pool.apply_async(functions.double, (4,))

    results = asyncio.run(main())

    assert results == (1, [0, 1, 2, 3], 8)


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(KINDS, KINDS)))
def test_a_nested_pool_works_or_is_refused_with_the_reason_and_never_hangs(stack, outer, inner):
    with multiprocessing.Pool(2, kind=outer) as pool:
        result = pool.apply_async(functions.nested, (inner.value,))
        if outer is inner:
            with pytest.raises(AssertionError, match="choose another kind"):
                result.get(30)
        else:
            assert result.get(30) == [0, 2, 4]

        assert result.ready()

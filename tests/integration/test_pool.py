"""The pool on real workers, of all three kinds, beside the standard library's own."""

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from multiprocessing.pool import RemoteTraceback
from pathlib import Path

import pytest

from examples import s2_pool
from shared import publishing
from shared.broker.connections import store
from shared.calls import inbox
from shared.calls.encoding import Mode
from shared.errors import (
    BrokerUnavailable,
    MessageTooLarge,
    NotAllowed,
    NotPortable,
    TaskWithdrawn,
    WorkerLost,
)
from shared.multiprocessing import Pool, jobs
from shared.pools import PoolKind
from shared.settings import current
from tests.integration import functions as f
from tests.support import ROOT, patient, wait_until

LONG_S = patient(20)  # a deadline, not a duration
STANDARD = "standard library"


@pytest.fixture(params=list(PoolKind))
def kind(request, stack):
    return request.param


# Which one a test asks for says what its answer depends on: the workers' kind, or the caller's
# half alone, which does not know the kind.


@pytest.fixture(params=[STANDARD, *PoolKind])
def open_any(request, stack):
    """Opens pools: the standard library's, then ours of each kind; the tests must not notice."""
    yield from opening(request.param)


@pytest.fixture(params=[STANDARD, PoolKind.PREFORK])
def open_both(request, stack):
    """Opens pools: the standard library's, then ours, for what the caller's half does."""
    yield from opening(request.param)


@pytest.fixture
def open_ours(kind):
    """Opens our pools of each kind."""
    yield from opening(kind)


@pytest.fixture
def open_one(stack):
    """Opens our pools, for what the caller's half does and the standard library's does not."""
    yield from opening(PoolKind.PREFORK)


def opening(kind):
    pools = []

    def open_pool(processes=2, *args):
        if kind == STANDARD:
            pool = multiprocessing.get_context("forkserver").Pool(processes, *args)
        else:
            pool = Pool(processes, *args, kind=kind)
        pools.append(pool)
        return pool

    yield open_pool
    for pool in pools:
        pool.terminate()
        pool.join()


def in_time(function, *args, seconds=20):
    """What the function returns or raises; a failure instead of a hang."""
    outcome = []

    def run():
        try:
            outcome.append((function(*args), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patient(seconds))
    assert outcome, f"still waiting after {seconds} s"
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


# Values and their order.


@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_map_and_starmap_give_values_in_the_order_of_the_items(open_any, chunksize):
    pool = open_any(3)

    mapped = pool.map_async(f.slow_for_even, range(20), chunksize).get(LONG_S)
    starmapped = pool.starmap_async(f.add, zip(range(20), range(20), strict=True), chunksize).get(
        LONG_S
    )

    assert mapped == list(range(20))
    assert starmapped == [2 * number for number in range(20)]


@pytest.mark.parametrize("chunksize", [1, 7])
def test_imap_gives_values_in_the_order_of_the_items(open_both, chunksize):
    pool = open_both(3)

    values = in_time(list, pool.imap(f.slow_for_even, range(20), chunksize))

    assert values == list(range(20))


@pytest.mark.parametrize("chunksize", [1, 7])
def test_imap_unordered_gives_each_value_once(open_both, chunksize):
    pool = open_both(3)

    values = in_time(list, pool.imap_unordered(f.slow_for_even, range(40), chunksize))

    assert sorted(values) == list(range(40))


def test_imap_unordered_gives_first_what_is_ready_first(open_any):
    pool = open_any(2)

    values = in_time(list, pool.imap_unordered(f.slow, [0.5, 0.01]))

    assert values == [0.01, 0.5]


def test_apply_passes_positional_and_keyword_arguments(open_any):
    pool = open_any()

    assert pool.apply(f.add, (1,), {"right": 2}) == 3
    assert pool.apply_async(f.add, (1, 2)).get(LONG_S) == 3


def test_an_empty_map_is_an_empty_list_at_once_and_calls_nothing_back(open_both):
    pool, called = open_both(), []

    result = pool.map_async(f.double, [], callback=called.append)

    assert result.ready()
    assert result.get(0) == []
    assert called == []
    assert list(pool.imap(f.double, [])) == []


def test_values_come_back_as_the_types_that_left(open_ours):
    value = [(1, (2,)), {3}, {(4, "k"): b"v"}, bytearray(b"x"), 1.0, 2**70, None]

    arrived = open_ours().apply(f.same, (value,))

    assert repr(arrived) == repr(value)


def test_a_large_value_goes_there_and_back(open_ours):
    value = os.urandom(5_000_000)

    arrived = open_ours().apply(f.same, (value,))

    assert arrived == value


# Laziness.


def test_imap_takes_from_an_endless_iterable_no_more_than_it_needs(open_one):
    processes, consumed, taken = 2, 10, []

    def numbers():
        for number in itertools.count():
            taken.append(number)
            yield number

    pool = open_one(processes)
    iterator = pool.imap(f.double, numbers())

    values = [iterator.next(LONG_S) for _ in range(consumed)]

    assert values == [2 * number for number in range(consumed)]
    wait_until(lambda: len(taken) >= consumed + processes, what="reading ahead")
    assert len(taken) <= consumed + 2 * processes


def test_a_generator_is_closed_to_by_the_pool_in_one_thread_at_a_time(open_one):
    inside, overlaps = threading.Lock(), []

    def numbers():
        for number in range(30):
            overlaps.append(not inside.acquire(blocking=False))
            if not overlaps[-1]:
                inside.release()
            yield number

    values = in_time(list, open_one(4).imap_unordered(f.double, numbers()))

    assert len(values) == 30
    assert not any(overlaps)


def test_an_iterable_that_raises_ends_imap_with_its_error_after_what_came_before(open_both):
    def numbers():
        yield 1
        yield 2
        raise RuntimeError("no more")

    iterator = open_both().imap(f.double, numbers())

    assert [iterator.next(LONG_S), iterator.next(LONG_S)] == [2, 4]
    with pytest.raises(RuntimeError, match="no more"):
        iterator.next(LONG_S)
    with pytest.raises(StopIteration):
        iterator.next(LONG_S)


def test_an_iterable_that_raises_ends_map_with_its_error(open_both):
    def numbers():
        yield 1
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        open_both().map(f.double, numbers())


# Errors.


def test_an_error_stands_in_its_place_among_the_values_of_imap(open_both):
    iterator = open_both().imap(f.odd_only, range(6))

    got = [value_or_error(iterator) for _ in range(6)]

    assert got == ["0 is even", 1, "2 is even", 3, "4 is even", 5]
    with pytest.raises(StopIteration):
        iterator.next(LONG_S)


def test_an_error_costs_the_other_items_of_its_chunk_nothing_in_imap(open_ours):
    iterator = open_ours().imap(f.odd_only, range(6), 3)

    got = [value_or_error(iterator) for _ in range(6)]

    assert got == ["0 is even", 1, "2 is even", 3, "4 is even", 5]


def value_or_error(iterator):
    try:
        return iterator.next(LONG_S)
    except ValueError as error:
        return str(error)


def test_map_raises_the_error_of_an_item_and_the_pool_goes_on(open_both):
    pool = open_both()

    with pytest.raises(ValueError, match="0 is even"):
        pool.map_async(f.odd_only, [1, 3, 0, 5, 7]).get(LONG_S)

    assert pool.map_async(f.odd_only, [1, 3]).get(LONG_S) == [1, 3]


def test_an_error_comes_back_as_its_class_with_the_remote_traceback_as_its_cause(open_any):
    result = open_any().apply_async(f.boom, ("key",))

    with pytest.raises(KeyError) as raised:
        result.get(LONG_S)

    assert raised.value.args == ("key",)
    assert type(raised.value.__cause__) is RemoteTraceback
    assert "in boom" in str(raised.value.__cause__)
    assert "functions.py" in str(raised.value.__cause__)
    assert result.ready()
    assert not result.successful()


def test_an_error_of_the_callers_own_class_can_be_caught_as_such(open_any):
    with pytest.raises(f.Custom, match="text"):
        open_any().apply_async(f.raise_custom, ("text",)).get(LONG_S)


@pytest.mark.parametrize(
    ("function", "error"), [(f.leave, SystemExit), (f.interrupt, KeyboardInterrupt)]
)
def test_an_error_that_would_end_a_worker_reaches_the_caller_and_the_worker_lives(
    open_ours, function, error
):
    pool = open_ours()
    args = (3,) if function is f.leave else ()

    with pytest.raises(error) as raised:
        pool.apply_async(function, args).get(LONG_S)

    assert getattr(raised.value, "code", 3) == 3
    assert pool.apply_async(f.double, (2,)).get(LONG_S) == 4


def test_a_result_that_cannot_travel_is_an_error_that_says_why(open_ours):
    with pytest.raises((NotPortable, NotAllowed), match="TextIOWrapper") as raised:
        open_ours().apply_async(f.open_file).get(LONG_S)

    assert "\n" not in str(raised.value)


def test_a_result_that_cannot_travel_costs_the_others_of_its_chunk_nothing(open_ours):
    iterator = open_ours().imap(f.open_file_for_even, range(4), 4)

    got = []
    for _ in range(4):
        try:
            got.append(iterator.next(LONG_S))
        except (NotPortable, NotAllowed):
            got.append("refused")

    assert got == ["refused", 1, "refused", 3]


@pytest.mark.parametrize(("megabytes", "count"), [(17, 1), (6, 3)], ids=["alone", "together"])
def test_results_that_are_too_large_are_told_instead_of_awaited_for_ever(
    open_ours, megabytes, count
):
    result = open_ours().map_async(f.megabytes, [megabytes] * count, count)

    with pytest.raises(MessageTooLarge, match="MESSAGE_LIMIT_BYTES"):
        result.get(LONG_S)


def test_a_function_that_cannot_travel_is_refused_at_the_call(open_one):
    pool = open_one()

    for method in METHODS:
        call = getattr(pool, method)
        args = ((1,),) if method == "apply_async" else ([(1,)],)
        with pytest.raises(NotPortable, match="lambda"):
            call(lambda number: number, *args)
        with pytest.raises(NotAllowed, match="TASK_MODULES"):
            call(shutil.rmtree, *args)
        with pytest.raises(TypeError, match="callable"):
            call(3, *args)


def test_an_argument_that_cannot_travel_is_refused_at_the_call(open_one):
    pool = open_one()

    with pytest.raises(NotPortable, match="generator"):
        pool.apply_async(f.same, ((number for number in range(3)),))
    with pytest.raises(NotPortable, match="lambda"):
        pool.map(f.same, [1, lambda: 1])

    assert pool.apply_async(f.double, (2,)).get(LONG_S) == 4


def test_an_argument_that_cannot_travel_ends_imap_after_the_values_before_it(open_one):
    iterator = open_one().imap(f.same, [1, 2, lambda: 1, 4])

    assert [iterator.next(LONG_S), iterator.next(LONG_S)] == [1, 2]
    with pytest.raises(NotPortable, match="lambda"):
        iterator.next(LONG_S)


# Callbacks.


def test_a_callback_gets_the_value_and_an_error_callback_the_error(open_both):
    pool, values, errors = open_both(), [], []

    good = pool.apply_async(f.double, (2,), callback=values.append, error_callback=errors.append)
    bad = pool.apply_async(f.boom, ("k",), callback=values.append, error_callback=errors.append)
    many = pool.map_async(f.double, [1, 2], callback=values.append, error_callback=errors.append)
    failed = pool.map_async(
        f.odd_only, [1, 2], callback=values.append, error_callback=errors.append
    )
    for result in (good, bad, many, failed):
        result.wait(LONG_S)

    assert sorted(values, key=str) == [4, [2, 4]]
    assert sorted(map(repr, errors)) == ["KeyError('k')", "ValueError('2 is even')"]


def test_a_callback_that_raises_stops_no_other_result(open_one):
    pool = open_one()

    def callback(value):
        raise RuntimeError("in a callback")

    first = pool.apply_async(f.double, (1,), callback=callback)
    second = pool.apply_async(f.boom, (1,), error_callback=callback)

    assert first.get(LONG_S) == 2
    with pytest.raises(KeyError):
        second.get(LONG_S)
    assert pool.apply_async(f.double, (4,)).get(LONG_S) == 8


# Waiting.


def test_waiting_ends_with_multiprocessings_timeout_and_the_value_still_comes(open_both):
    pool = open_both()
    result = pool.apply_async(f.slow, (1,))
    iterator = pool.imap(f.slow, [1])

    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.05)
    with pytest.raises(multiprocessing.TimeoutError):
        iterator.next(0.05)
    result.wait(0.05)

    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    assert result.get(LONG_S) == 1
    assert iterator.next(LONG_S) == 1
    assert result.successful()


# Close, terminate, join.


METHODS = ("apply_async", "map_async", "starmap_async", "imap", "imap_unordered")


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_an_ended_pool_takes_no_calls(open_both, end):
    pool = open_both(1)
    pool.apply(f.double, (1,))  # the standard library's cannot end a process that just starts
    getattr(pool, end)()

    for method in METHODS:
        args = ((1,),) if method == "apply_async" else ([(1,)],)
        with pytest.raises(ValueError, match="Pool not running"):
            getattr(pool, method)(f.double, *args)
    with pytest.raises(ValueError, match="Pool not running"), pool:
        pass


def test_a_running_pool_cannot_be_joined(open_both):
    with pytest.raises(ValueError, match="Pool is still running"):
        open_both().join()


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((0,), ValueError, "Number of processes must be at least 1"),
        ((-1,), ValueError, "Number of processes must be at least 1"),
        ((1, "no function"), TypeError, "initializer must be a callable"),
        ((1, None, (), 0), ValueError, "maxtasksperchild must be a positive int or None"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_in_the_standard_librarys_words(
    open_both, args, error, text
):
    with pytest.raises(error, match=text):
        open_both(*args)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunksize_below_one_is_refused_in_the_standard_librarys_words(open_both, chunksize):
    with pytest.raises(ValueError, match=rf"Chunksize must be 1\+, not {chunksize}"):
        open_both().imap(f.double, [1], chunksize)


def test_a_pool_cannot_be_sent_to_a_worker(open_one):
    pool = open_one()

    with pytest.raises(NotPortable, match="cannot be passed between processes"):
        pool.apply_async(f.same, (pool,))


def test_what_was_accepted_before_close_is_done_when_join_returns(open_any):
    pool = open_any()
    many = pool.map_async(f.slow_for_even, range(30), 1)
    iterator = pool.imap(f.double, range(30))
    single = pool.apply_async(f.slow, (0.5,))

    pool.close()
    in_time(pool.join)

    assert single.ready()
    assert many.ready()
    assert single.get(0) == 0.5
    assert many.get(0) == list(range(30))
    assert list(iterator) == [2 * number for number in range(30)]


def test_a_large_value_is_ready_when_join_returns(open_both):
    pool = open_both()
    result = pool.apply_async(f.same, ([(number,) for number in range(100_000)],))

    pool.close()
    pool.join()

    assert result.ready()


def test_closing_or_terminating_twice_changes_nothing(open_both):
    pool = open_both()

    pool.close()
    pool.close()
    pool.terminate()
    pool.terminate()
    in_time(pool.join)
    in_time(pool.join)


def test_the_end_of_a_with_block_terminates_the_pool(open_both):
    with open_both() as pool:
        assert pool.apply(f.double, (1,)) == 2

    with pytest.raises(ValueError, match="Pool not running"):
        pool.apply(f.double, (1,))
    in_time(pool.join)


def test_what_terminate_leaves_without_a_value_says_so_instead_of_waiting_for_ever(open_ours):
    pool = open_ours(1)
    running = pool.apply_async(f.slow, (1,))
    waiting = pool.map_async(f.double, range(100), 1)
    iterator = pool.imap(f.double, range(100))

    pool.terminate()

    for result in (running, waiting):
        with pytest.raises(TaskWithdrawn, match="terminated"):
            result.get(LONG_S)
    with pytest.raises(TaskWithdrawn):
        iterator.next(LONG_S)
    with pytest.raises(StopIteration):
        iterator.next(LONG_S)


def test_an_iterator_ends_after_terminate_also_while_its_iterable_is_being_read(open_one):
    read, go_on = threading.Event(), threading.Event()

    def numbers():
        read.set()
        go_on.wait(LONG_S)
        yield 1

    pool = open_one(1)
    iterator = pool.imap(f.double, numbers())
    read.wait(LONG_S)

    pool.terminate()
    go_on.set()
    in_time(pool.join)

    with pytest.raises(TaskWithdrawn):
        iterator.next(5)
    with pytest.raises(StopIteration):
        iterator.next(5)


def test_what_was_queued_is_not_run_after_terminate(open_ours, tmp_path, kind):
    file = tmp_path / "lines"
    file.touch()
    pool = open_ours(1)
    running = pool.apply_async(f.slow, (1,))
    for number in range(20):
        pool.apply_async(f.append, (str(file), number))
    wait_until(lambda: pool._out, what="sending the first")

    pool.terminate()
    in_time(pool.join)

    other = open_ours(1)
    assert other.map_async(f.double, range(20), 1).get(LONG_S) == [2 * n for n in range(20)]
    assert running.ready()
    assert file.read_text() == ""
    assert store().llen(kind.value) == 0


def test_terminate_ends_what_runs_where_that_can_be_done(stack, tmp_path):
    seconds = patient(1.5)
    files = {kind: tmp_path / kind.value for kind in (PoolKind.PREFORK, PoolKind.GEVENT)}
    for kind, file in files.items():
        pool = Pool(2, kind=kind)
        pool.apply_async(f.append_twice, (str(file), seconds))
        wait_until(file.exists, what="the start of the call")

        pool.terminate()
        in_time(pool.join)

    with Pool(1, kind=PoolKind.THREADS) as pool:
        pool.apply_async(f.slow, (seconds + 0.5,)).get(LONG_S)
    assert [file.read_text() for file in files.values()] == ["began\n", "began\n"]


def test_terminating_one_pool_takes_nothing_from_another(open_ours):
    steady = open_ours(2)
    results = [steady.map_async(f.slow_for_even, range(60), 1)]

    for _ in range(5):
        brief = open_ours(2)
        started = [brief.apply_async(f.slow, (0.05,)) for _ in range(4)]
        started[0].wait(LONG_S)
        brief.terminate()
        results.append(steady.map_async(f.slow_for_even, range(10), 1))

    assert results[0].get(LONG_S) == list(range(60))
    assert all(result.get(LONG_S) == list(range(10)) for result in results[1:])


# How many at once.


def most_at_once(intervals):
    """How many intervals overlap in the most crowded moment."""
    moments = sorted(
        moment for _, began, ended in intervals for moment in ((began, 1), (ended, -1))
    )
    return max(itertools.accumulate(step for _, step in moments))


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("method", ["apply_async", "map", "imap_unordered"])
def test_never_more_than_the_pools_size_run_at_once(open_any, processes, method):
    pool = open_any(processes)

    if method == "apply_async":
        waiting = [pool.apply_async(f.interval, (number, 0.03)) for number in range(20)]
        intervals = [result.get(LONG_S) for result in waiting]
    elif method == "map":
        items = [(number, 0.03) for number in range(20)]
        intervals = pool.starmap_async(f.interval, items, 1).get(LONG_S)
    else:
        work = [f"{number}" for number in range(20)]
        intervals = in_time(list, pool.imap_unordered(f.brief_interval, work))

    assert len(intervals) == 20
    assert most_at_once(intervals) == processes


def test_a_pool_of_default_size_uses_every_place_of_its_workers(stack):
    pool = Pool(kind=PoolKind.THREADS)

    intervals = pool.starmap_async(f.interval, [(n, 0.3) for n in range(16)], 1).get(LONG_S)
    pool.terminate()

    assert most_at_once(intervals) == 16


@pytest.mark.parametrize("size", [None, 3])
def test_only_a_pool_of_default_size_has_more_on_their_way_than_run(stack, size):
    with Pool(size, kind=PoolKind.THREADS) as pool:
        waiting, most = [pool.apply_async(f.double, (n,)) for n in range(2_000)], 0
        while not waiting[-1].ready():
            most = max(most, len(pool._out))
            waiting[-1].wait(0.001)
        values = [result.get(LONG_S) for result in waiting]

    assert values == [2 * n for n in range(2_000)]
    assert most <= 3 if size else most > 2 * pool._processes


def test_two_pools_at_once_have_each_their_own_size(open_one):
    one, other = open_one(1), open_one(2)

    first = one.starmap_async(f.interval, [(n, 0.03) for n in range(10)], 1)
    second = other.starmap_async(f.interval, [(n, 0.03) for n in range(20)], 1)
    ones, others = first.get(LONG_S), second.get(LONG_S)

    assert most_at_once(ones) == 1
    assert most_at_once(others) == 2
    assert most_at_once(ones + others) == 3


def test_many_threads_use_one_pool_and_each_gets_its_own_values(open_one):
    pool, got = open_one(4), {}

    def work(number):
        got[number] = pool.map_async(f.double, range(number, number + 10), 3).get(LONG_S)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)

    assert got == {n: [2 * item for item in range(n, n + 10)] for n in range(16)}


def test_the_tutorials_twenty_tasks_take_four_rounds_of_a_second(kind):
    with Pool(5, kind=kind) as pool:
        started = time.monotonic()
        collected = s2_pool.collect(pool)
        seconds = time.monotonic() - started

    # Four rounds of five, each a second of sleep; what is above is the way there and back.
    assert 4.0 <= seconds < patient(5.0)
    assert [count for count, _ in collected] == list(range(20))
    assert {type(pair) for pair in collected} == {tuple}
    assert len({pid for _, pid in collected}) <= (8 if kind is PoolKind.PREFORK else 1)


# How many items go together.


@pytest.fixture
def sizes(monkeypatch):
    """The items of each chunk, in the order in which they are sent."""
    encode, sizes = jobs.encode, []

    def spy(function, mode, items):
        sizes.append(len(items))
        return encode(function, mode, items)

    monkeypatch.setattr(jobs, "encode", spy)
    return sizes


@pytest.mark.parametrize("end", ["get", "close"])
def test_a_map_sends_short_calls_by_the_thousand(open_one, sizes, end):
    pool = open_one(4)
    result = pool.map_async(f.double, range(20_000))
    if end == "close":
        pool.close()

    values = result.get(LONG_S)

    assert values == [2 * number for number in range(20_000)]
    assert sum(sizes) == 20_000
    assert max(sizes) > 1_000


def test_a_map_sends_long_calls_one_by_one(open_one, sizes):
    values = open_one(4).map(f.slow, [0.15] * 16)

    assert values == [0.15] * 16
    assert sizes == [1] * 16


def test_a_map_sends_as_many_together_as_its_caller_says(open_one, sizes):
    open_one(4).map(f.double, range(20), 6)

    assert sizes == [6, 6, 6, 2]


def test_an_item_that_cannot_travel_is_the_error_of_a_map(open_both):
    pool, told = open_both(), []

    result = pool.map_async(f.same, [1, lambda: 1, 2], 1, error_callback=told.append)

    with pytest.raises(Exception, match="lambda"):
        result.get(LONG_S)
    assert len(told) == 1
    assert pool.map_async(f.double, [2]).get(LONG_S) == [4]


# Who sends.


@pytest.fixture
def pushes(stack, monkeypatch):
    """The threads that push, in turn; what `trouble` holds they raise, after the push or before."""
    push, threads, trouble = publishing.push, [], []

    def spy(*args, **options):
        threads.append(threading.current_thread().name)
        when, error = trouble.pop() if trouble else ("never", None)
        if when == "before":
            raise error
        pushed = push(*args, **options)
        if when == "after":
            raise error
        return pushed

    monkeypatch.setattr(publishing, "push", spy)
    return threads, trouble


def test_a_call_that_nothing_is_before_goes_out_from_its_callers_thread(pushes):
    threads, _ = pushes
    with Pool(2, kind=PoolKind.THREADS) as pool:
        first, second = pool.apply_async(f.slow, (0.2,)), pool.apply_async(f.slow, (0,))
        second.get(LONG_S)
        first.get(LONG_S)
        pool.apply(f.double, (1,))
        pool.map(f.double, [1, 2, 3, 4], 1)

    me = threading.current_thread().name
    assert threads[:3] == [me, "pool-feeder", me]
    assert set(threads[3:]) == {"pool-feeder"}


def test_calls_run_in_the_order_in_which_they_were_made(open_any, tmp_path):
    file = tmp_path / "lines"
    pool = open_any(1)

    for number in range(50):
        result = pool.apply_async(f.append, (str(file), number))
    result.get(LONG_S)

    assert file.read_text().split() == [str(number) for number in range(50)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_whose_push_failed_is_sent_by_the_feeder_and_runs_once(pushes, tmp_path, when):
    file = tmp_path / "lines"
    threads, trouble = pushes
    with Pool(1, kind=PoolKind.THREADS) as pool:
        trouble.append((when, BrokerUnavailable("127.0.0.1:1", "a test")))
        # It still runs when the feeder sends it again.
        pool.apply_async(f.append_twice, (str(file), 0.3)).get(LONG_S)

    assert threads == [threading.current_thread().name, "pool-feeder"]
    assert file.read_text().split() == ["began", "ended"]


def test_a_call_whose_push_was_interrupted_keeps_no_place(pushes):
    _, trouble = pushes
    with Pool(1, kind=PoolKind.THREADS) as pool:
        trouble.append(("before", KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            pool.apply_async(f.double, (1,))

        assert pool.apply_async(f.double, (2,)).get(LONG_S) == 4
        pool.close()
        in_time(pool.join)


# Initializers, coroutines, pools inside tasks.


def test_an_initializer_runs_before_the_first_task_of_each_process(open_any):
    mark = os.urandom(4).hex()
    pool = open_any(2, f.start_with, (mark,))

    started = pool.map_async(f.what_started, range(20), 1).get(LONG_S)

    assert {values.count(mark) for _, values in started} == {1}


def test_an_initializer_that_fails_is_told_instead_of_tried_for_ever(open_ours):
    pool = open_ours(2, f.start_with, ("fail",))

    with pytest.raises(RuntimeError, match="no start"):
        pool.map_async(f.what_started, range(4)).get(LONG_S)


def test_coroutine_functions_run_several_at_once(open_ours):
    pool = open_ours(4)

    waiting = [pool.apply_async(f.nap, (0.2,)) for _ in range(8)]

    assert [result.get(LONG_S) for result in waiting] == [0.2] * 8


@pytest.mark.parametrize(
    ("outer", "inner"), [("prefork", "threads"), ("threads", "gevent"), ("gevent", "prefork")]
)
def test_a_task_can_open_a_pool_of_another_kind(stack, outer, inner):
    with Pool(2, kind=PoolKind(outer)) as pool:
        values = pool.apply_async(f.open_pool_inside, (inner, [1, 2, 3])).get(LONG_S)

    assert values == [2, 4, 6]


def test_a_task_is_refused_a_pool_of_the_kind_that_it_occupies(kind):
    with Pool(2, kind=kind) as pool, pytest.raises(AssertionError, match="choose another kind"):
        pool.apply_async(f.open_pool_inside, (kind.value, [1])).get(LONG_S)


# Workers that die.


def test_a_call_that_kills_its_process_is_told_within_fifteen_seconds_and_the_pool_goes_on(stack):
    with Pool(2, kind=PoolKind.PREFORK) as pool:
        started = time.monotonic()
        with pytest.raises(WorkerLost, match="kill_me"):
            pool.apply_async(f.kill_me).get(2 * LONG_S)
        seconds = time.monotonic() - started
        values = pool.map_async(f.double, range(20), 1).get(LONG_S)

    assert seconds < patient(15)
    assert values == [2 * number for number in range(20)]


@pytest.mark.parametrize(
    ("function", "seconds"), [(f.append_twice, 5), (f.outlive, 20)], ids=["ended", "outlived it"]
)
def test_a_killed_call_is_told_also_by_processes_in_which_others_were_terminated(
    stack, tmp_path, function, seconds
):
    terminated = Pool(8, kind=PoolKind.PREFORK)
    files = [tmp_path / str(number) for number in range(8)]
    for file in files:
        terminated.apply_async(function, (str(file), seconds))
    wait_until(lambda: all(file.exists() for file in files), what="the start of all calls")
    terminated.terminate()
    in_time(terminated.join)

    with Pool(2, kind=PoolKind.PREFORK) as pool:
        lost = pool.apply_async(f.kill_me)

        with pytest.raises(WorkerLost, match="kill_me"):
            lost.get(2 * LONG_S)


def test_a_killed_process_costs_the_other_calls_nothing(stack):
    with Pool(4, kind=PoolKind.PREFORK) as pool:
        others = pool.map_async(f.slow_for_even, range(200), 1)
        lost = pool.apply_async(f.kill_me)

        assert others.get(LONG_S) == list(range(200))
        with pytest.raises(WorkerLost):
            lost.get(LONG_S)


# Clients that end. Each is a process of its own.


CLIENT = """
import gc, os, sys, threading, time
from shared import multiprocessing
from shared.calls import inbox
from tests.integration import functions as f
if __name__ == "__main__":
    {body}
"""


@pytest.fixture
def client(stack):
    """Starts clients; none of them outlives its test."""
    started = []

    def start(body, **environment):
        started.append(run_client(body, environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def run_client(body, environment):
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT.format(body=body)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_clients_reply_stream_is_gone_when_it_exits(client):
    body = "p = multiprocessing.Pool(2); p.map(f.double, range(3)); print(inbox.inbox().name)"

    said, trouble = client(body).communicate(timeout=LONG_S)

    assert said.startswith("replies:"), trouble
    assert not store().exists(said.strip())


def test_a_killed_clients_reply_stream_is_gone_when_its_lease_ends(client):
    body = (
        "p = multiprocessing.Pool(2); r = p.apply_async(f.slow, (600,));"
        "print(inbox.inbox().name, flush=True); time.sleep(600)"
    )
    process = client(body, REPLY_LEASE_S="2")
    name = process.stdout.readline().strip()
    there = store().exists(name)
    lives_on = wait_until(lambda: store().pttl(name) > 1000, what="renewing the lease")

    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LONG_S)

    assert there
    assert lives_on
    wait_until(lambda: not store().exists(name), 5, "the end of the stream")


def test_a_lease_is_renewed_while_the_client_lives(client):
    body = (
        "p = multiprocessing.Pool(2); print(inbox.inbox().name, flush=True);"
        "print(p.apply(f.slow, (3,)))"
    )
    process = client(body, REPLY_LEASE_S="1")

    said, trouble = process.communicate(timeout=LONG_S)

    assert said.splitlines()[1:] == ["3"], trouble


def test_a_client_that_ends_with_an_open_pool_ends_at_once(client):
    body = "p = multiprocessing.Pool(2); r = p.map_async(f.slow, [60] * 10); time.sleep(0.3)"
    process = client(body)

    started = time.monotonic()
    _, trouble = process.communicate(timeout=LONG_S)

    assert process.returncode == 0, trouble
    assert trouble == ""
    assert time.monotonic() - started < patient(10)


@pytest.mark.parametrize("module", ["concurrent.futures", "shared.futures"])
def test_a_client_that_ends_with_an_open_executor_waits_for_its_futures(client, module):
    body = (
        f"from {module} import ThreadPoolExecutor; e = ThreadPoolExecutor(2);"
        "[e.submit(f.slow, 0.2).add_done_callback(lambda d: sys.stdout.write(str(d.result()) + chr(10))) for _ in range(4)]"
    )

    said, trouble = client(body).communicate(timeout=LONG_S)

    assert said.split() == ["0.2"] * 4, trouble


@pytest.mark.parametrize(
    ("what", "environment", "before"),
    [
        ("an encoding that lacks a letter", {"PYTHONIOENCODING": "ascii"}, ""),
        ("no standard output", {}, "sys.stdout = None;"),
        ("a closed standard output", {}, "sys.stdout.close();"),
        ("a reader that went away", {}, "r, w = os.pipe(); os.close(r); os.dup2(w, 1);"),
    ],
)
def test_output_that_cannot_be_shown_keeps_no_result_back(client, what, environment, before):
    body = (
        f"p = multiprocessing.Pool(2); {before}"
        "a = p.apply_async(f.say, ('\\u8fdb\\u7a0b',)).get(5); b = p.apply_async(f.double, (2,)).get(5);"
        "print(ascii(a), b, file=sys.stderr)"
    )

    _, trouble = client(body, **environment).communicate(timeout=LONG_S)

    # After it Python itself may say that standard output cannot be flushed.
    assert "'\\u8fdb\\u7a0b' 4" in trouble.splitlines()


def test_a_callback_that_exits_stops_no_other_result(client):
    body = (
        "p = multiprocessing.Pool(2); p.apply_async(f.double, (1,), callback=sys.exit).wait(5);"
        "print(p.apply_async(f.double, (2,)).get(5))"
    )

    said, trouble = client(body).communicate(timeout=LONG_S)

    assert said == "4\n", trouble


def test_what_a_task_prints_reaches_its_callers_terminal(client):
    body = "multiprocessing.Pool(2).apply(f.say, ('hello from afar',))"

    said, trouble = client(body).communicate(timeout=LONG_S)

    assert said == "hello from afar\n", trouble


def test_this_process_has_one_reply_stream_for_all_its_pools(open_one):
    names = {open_one()._inbox.name for _ in range(3)}

    assert names == {inbox.inbox().name}


def test_an_answer_that_nobody_awaits_leaves_nothing_behind(open_ours):
    pool = open_ours()
    pool.map_async(f.double, range(50), 1).get(LONG_S)
    name = inbox.inbox().name

    pool.apply(f.double, (1,))

    assert wait_until(lambda: store().xlen(name) <= 1, what="trimming the stream")
    assert not inbox.inbox()._waiting


def test_a_message_on_the_queue_holds_no_code_and_no_password(stack):
    with Pool(1, kind=PoolKind.PREFORK) as pool:
        message = json.loads(pool._render("id", *job_and_chunk()))

    assert message["headers"]["task"] == "call"
    assert message["content-type"] == "application/x-msgpack"
    assert os.environ["REDIS_URL"].partition("@")[0].rpartition(":")[2] not in json.dumps(message)


def job_and_chunk():
    chunk = jobs.Chunk(0, 1, *jobs.encode(f.double, Mode.MAP, [1]))
    return jobs.Job.of(chunk, None), chunk


@pytest.fixture
def open_recycling(stack):
    yield from opening(PoolKind.PREFORK)


def test_a_process_is_replaced_after_as_many_chunks_as_its_pool_wants(open_recycling):
    pids = in_time(open_recycling(1, None, (), 3).map, f.pid_of, range(12), 1, seconds=60)

    counts = Counter(pids)
    assert sum(counts.values()) == 12
    assert max(counts.values()) <= 3


def test_nothing_is_done_twice_when_each_task_has_a_process_of_its_own(open_recycling, tmp_path):
    paths = [str(tmp_path / str(number)) for number in range(8)]

    pids = in_time(open_recycling(2, None, (), 1).map, f.pid_noted_in, paths, 1, seconds=60)

    assert len(set(pids)) == 8
    assert [Path(path).read_text() for path in paths] == [f"{pid}\n" for pid in pids]


@pytest.mark.parametrize("kind", [PoolKind.THREADS, PoolKind.GEVENT])
def test_a_pool_without_processes_refuses_to_replace_them(stack, kind):
    with pytest.raises(ValueError, match=f"needs a prefork pool: {kind.value} workers have no"):
        Pool(1, None, (), 3, kind=kind)


def test_gevent_is_loaded_where_it_is_used(kind):
    with Pool(1, kind=kind) as pool:
        assert pool.apply(f.is_loaded, ("gevent",)) is (kind is PoolKind.GEVENT)


def test_calls_that_run_out_of_memory_cost_no_worker_and_no_place(kind):
    places = 1 if kind is PoolKind.PREFORK else current().concurrency(kind)

    with Pool(kind=kind) as pool:
        for result in [pool.apply_async(f.exhaust) for _ in range(places)]:
            with pytest.raises(MemoryError, match="too large"):
                result.get(LONG_S)

        assert pool.apply_async(f.double, (2,)).get(LONG_S) == 4

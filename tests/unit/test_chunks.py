"""How many chunks of a pool are on their way at once."""

import pytest

from shared.multiprocessing import chunks


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(chunks.time, "monotonic", lambda: clock.now)
    return clock


class Clock:
    now = 100.0


def answer(pace, clock, count, each_s):
    for _ in range(count):
        clock.now += each_s
        pace.answered()


def test_a_pool_that_nobody_has_answered_has_nothing_ahead(clock):
    assert chunks.Pace().ahead() == 0


def test_as_many_are_ahead_as_were_answered_in_a_tenth_of_a_second(clock):
    pace = chunks.Pace()

    answer(pace, clock, 1_000, 0.001)

    assert 95 <= pace.ahead() <= 105


def test_what_runs_for_long_has_no_more_than_its_like_waiting_behind_it(clock):
    pace = chunks.Pace()

    answer(pace, clock, 100, 1.0)

    assert pace.ahead() == 1


def test_what_was_fast_before_a_pause_says_nothing_of_what_comes_after(clock):
    pace = chunks.Pace()
    answer(pace, clock, 1_000, 0.001)

    clock.now += 0.3

    assert pace.ahead() == 0


def test_there_is_a_bound_however_fast_the_answers_come(clock):
    pace = chunks.Pace()

    answer(pace, clock, 50_000, 0.000_01)

    assert pace.ahead() == 1_000

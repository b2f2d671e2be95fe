"""How many items go in a chunk, and how many chunks are on their way at once."""

import pytest

from shared.calls import codec
from shared.calls.encoding import Mode
from shared.calls.outcomes import Outcome, Outcomes
from shared.errors import MessageTooLarge
from shared.multiprocessing import jobs, pacing
from tests.unit import shapes


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pacing.time, "monotonic", lambda: clock.now)
    return clock


class Clock:
    now = 100.0


def answer(pace, clock, count, each_s):
    for _ in range(count):
        clock.now += each_s
        pace.answered()


def test_a_pool_that_nobody_has_answered_has_nothing_ahead(clock):
    assert pacing.Pace().ahead() == 0


def test_as_many_are_ahead_as_were_answered_in_a_tenth_of_a_second(clock):
    pace = pacing.Pace()

    answer(pace, clock, 1_000, 0.001)

    assert 95 <= pace.ahead() <= 105


def test_what_runs_for_long_has_no_more_than_its_like_waiting_behind_it(clock):
    pace = pacing.Pace()

    answer(pace, clock, 100, 1.0)

    assert pace.ahead() == 1


def test_what_was_fast_before_a_pause_says_nothing_of_what_comes_after(clock):
    pace = pacing.Pace()
    answer(pace, clock, 1_000, 0.001)

    clock.now += 0.3

    assert pace.ahead() == 0


def test_there_is_a_bound_however_fast_the_answers_come(clock):
    pace = pacing.Pace()

    answer(pace, clock, 50_000, 0.000_01)

    assert pace.ahead() == 1_000


def answered(count, item_s, item_bytes=1):
    outcomes = Outcomes([None] * count, seconds=count * item_s)
    outcomes.size_bytes = count * item_bytes
    return outcomes


def drawn(sizes, total, item_s):
    """The sizes of all chunks, each answered before the next is made."""
    left, found = total, []
    while left:
        found.append(min(sizes.next(left), left))
        left -= found[-1]
        sizes.note(answered(found[-1], item_s))
    return found


@pytest.mark.parametrize("total", [1, 20, 100_000])
def test_the_first_chunks_are_small_and_no_more_than_there_are_places(total):
    sizes = pacing.Sizes(total, 4, None)

    assert sizes.next(total) == {1: 1, 20: 1, 100_000: 32}[total]
    assert sizes.room() == 4
    sizes.sent += 4
    assert sizes.room() == 0
    sizes.note(answered(1, 0.001))
    assert sizes.room() > 1_000


def test_long_calls_go_one_by_one():
    assert drawn(pacing.Sizes(100, 4, None), 100, 1.0)[2:] == [1] * 98


def test_chunks_last_a_tenth_of_a_second_and_shrink_towards_the_end():
    found = drawn(pacing.Sizes(10_000, 4, None), 10_000, 0.002)

    assert max(found) == 50
    assert found[1:] == sorted(found[1:], reverse=True)
    assert found[-2] == 5


def test_calls_that_take_next_to_no_time_go_in_four_chunks():
    assert drawn(pacing.Sizes(20_000, 2, None), 20_000, 1e-7) == [32, 5000, 5000, 5000, 4968]


def test_every_place_has_its_share_should_the_later_calls_take_longer():
    found = drawn(pacing.Sizes(20_000, 100, None), 20_000, 1e-7)

    assert max(found) == 200


def test_large_results_go_in_chunks_of_a_megabyte():
    sizes = pacing.Sizes(20_000, 4, None)

    sizes.note(answered(10, 1e-7, item_bytes=100_000))

    assert sizes.next(20_000) == 10


def test_a_call_that_was_lost_says_nothing_of_how_long_the_others_take():
    sizes = pacing.Sizes(100, 4, None)
    sizes.note(answered(1, 1.0))

    sizes.note(Outcomes.of(Outcome(False, OSError("lost"))))

    assert sizes.next(98) == 1


@pytest.mark.parametrize("given", [1, 7, 200])
def test_what_the_caller_says_is_obeyed(given):
    sizes = pacing.Sizes(100, 4, given)
    room = sizes.room()
    sizes.note(answered(1, 1e-7))

    assert sizes.next(100) == given
    assert room > 100


def test_items_that_are_too_large_together_go_in_smaller_chunks(monkeypatch):
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "2000")
    jobs.encoding.current.cache_clear()
    items = ["x" * 400] * 20
    given, free = pacing.Sizes(20, 4, 10), pacing.Sizes(20, 4, None)
    free.note(answered(1, 1e-7))

    cut = list(jobs.cut_sequence(shapes.double, Mode.MAP, items, free))

    assert sum(chunk.items for chunk in cut) == 20
    assert [chunk.first for chunk in cut[:3]] == [0, cut[0].items, 2 * cut[0].items]
    assert all(len(chunk.payload) <= 2000 for chunk in cut)
    with pytest.raises(MessageTooLarge):
        next(jobs.cut_sequence(shapes.double, Mode.MAP, items, given))


def test_a_part_of_a_range_travels_as_a_range():
    (first, second) = jobs.cut_sequence(
        shapes.double, Mode.MAP, range(10, 100_000, 3), pacing.Sizes(30_000, 4, 20_000)
    )

    assert first.items + second.items == len(range(10, 100_000, 3))
    *_, items = codec.loads(second.payload)
    assert items == range(60_010, 100_000, 3)
    assert len(second.payload) < 150

"""Outcomes become bytes, and values and errors again."""

import pytest

from shared.calls import codec, exceptions
from shared.calls.outcomes import Outcome, Outcomes, decode_outcomes, encode_outcomes
from shared.errors import MessageTooLarge, NotPortable
from tests.unit import shapes

HERE = "tests.unit.shapes"


def encoded(*outcomes):
    return decode_outcomes(encode_outcomes(Outcomes.of(*outcomes)))


def test_outcomes_come_back_in_their_order_with_value_error_and_traceback():
    came = encoded(Outcome(True, (1, 2)), Outcome(False, KeyError("k"), "remote lines"))

    assert came[0] == Outcome(True, (1, 2))
    with pytest.raises(KeyError) as raised:
        came[1].result()
    assert "remote lines" in str(raised.value.__cause__)


def test_an_error_that_was_returned_is_a_value():
    came = encoded(Outcome(True, KeyError("k")), Outcome(False, KeyError("k")))

    assert [outcome.ok for outcome in came] == [True, False]
    assert came[-1] == came[1]


def test_outcomes_take_little_more_room_than_their_values():
    payload = encode_outcomes(Outcomes(list(range(100))))

    assert len(payload) < 120


def test_one_result_that_cannot_travel_costs_the_others_nothing():
    came = encoded(Outcome(True, 1), Outcome(True, (n for n in "ab")), Outcome(True, {3}))

    assert came[0].result() == 1
    assert came[2].result() == {3}
    with pytest.raises(NotPortable, match="generator"):
        came[1].result()


def test_an_error_that_cannot_travel_is_told_by_its_name_and_text():
    came = encoded(Outcome(False, shapes.Holding(open), "remote lines"))

    with pytest.raises(exceptions.RemoteError, match=rf"{HERE}.Holding: .*open"):
        came[0].result()


def test_results_that_are_too_large_together_are_told_one_by_one(monkeypatch):
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "1000")
    codec.current.cache_clear()

    came = encoded(Outcome(True, "x" * 2000), Outcome(True, "short"))

    assert came[1].result() == "short"
    with pytest.raises(MessageTooLarge, match="the result"):
        came[0].result()


def test_results_that_are_too_large_only_together_are_told_as_such(monkeypatch):
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "1000")
    codec.current.cache_clear()

    came = encoded(*[Outcome(True, "x" * 400)] * 4)

    assert not any(outcome.ok for outcome in came)
    with pytest.raises(MessageTooLarge, match="the result"):
        came[0].result()

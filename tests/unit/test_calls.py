"""A call becomes bytes and a few words for people; its outcomes become values again."""

import functools

import pytest

from shared import calls, codec
from shared.calls import Mode, Outcome, Outcomes
from shared.errors import MessageTooLarge, NotAllowed, NotPortable
from tests.unit import shapes

HERE = "tests.unit.shapes"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (shapes.double, f"{HERE}.double"),
        (shapes.Point, f"{HERE}.Point"),
        (shapes.Point(3, 4).length, f"{HERE}.Point.length"),
        (functools.partial(shapes.double, 1), f"{HERE}.double"),
        (functools.partial(functools.partial(shapes.Point(1, 2).length)), f"{HERE}.Point.length"),
    ],
)
def test_a_call_is_shown_under_the_name_of_what_runs_in_the_end(function, name):
    shown, payload = calls.encode_call(function, Mode.APPLY, [((1,), {})])

    assert shown == name
    assert codec.loads(payload)[0] == name


@pytest.mark.parametrize(
    ("mode", "items", "args", "kwargs"),
    [
        (Mode.APPLY, [((1, "a"), {"b": 2})], "(1, 'a')", "{'b': 2}"),
        (Mode.MAP, [(1, 2)], "((1, 2),)", "{}"),
        (Mode.STARMAP, [(1, 2)], "(1, 2)", "{}"),
        (Mode.MAP, [1, 2, 3], "(3 items: 1 … 3)", "{}"),
    ],
)
def test_the_arguments_of_a_chunk_can_be_read_by_people(mode, items, args, kwargs):
    shown = calls.arguments_repr(mode, items)

    assert shown == (args, kwargs)


@pytest.mark.parametrize("count", [1, 2])
def test_what_people_read_of_large_arguments_stays_short(count):
    args, kwargs = calls.arguments_repr(Mode.MAP, ["x" * 100_000] * count)

    assert len(args) < 500
    assert len(kwargs) < 500


@pytest.mark.parametrize("count", [1, 2])
def test_an_argument_whose_repr_fails_can_be_sent_all_the_same(count):
    args, _ = calls.arguments_repr(Mode.MAP, [shapes.Broken()] * count)

    assert "Broken" in args


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda: 1, NotPortable),
        (shapes.called_elsewhere, NotPortable),
        (functools.partial(lambda: 1), NotPortable),
        (functools.partial(print), NotAllowed),
        (shapes.system, NotAllowed),
        (3, TypeError),
    ],
)
def test_what_no_worker_could_run_is_refused_before_it_is_sent(function, error):
    with pytest.raises(error):
        calls.encode_call(function, Mode.MAP, [1])


def test_a_function_that_is_another_by_now_is_refused_although_it_was_called_before(monkeypatch):
    function = shapes.double
    calls.encode_call(function, Mode.MAP, [1])
    monkeypatch.setattr(shapes, "double", shapes.Point)

    with pytest.raises(NotPortable, match="is another object there"):
        calls.encode_call(function, Mode.MAP, [1])


def test_partials_of_one_function_are_not_taken_for_each_other():
    payloads = {
        calls.encode_call(function, Mode.MAP, [1])[1]
        for function in (
            shapes.double,
            functools.partial(shapes.double, 1),
            functools.partial(shapes.double, 2),
        )
    }

    assert len(payloads) == 3


def test_arguments_that_are_too_large_are_refused_by_the_functions_name(monkeypatch):
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "1000")
    codec.current.cache_clear()

    with pytest.raises(MessageTooLarge, match=rf"the arguments of {HERE}.double"):
        calls.encode_call(shapes.double, Mode.MAP, ["x" * 2000])


def encoded(*outcomes):
    return calls.decode_outcomes(calls._encode_outcomes(Outcomes.of(*outcomes)))


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
    payload = calls._encode_outcomes(Outcomes(list(range(100))))

    assert len(payload) < 120


@pytest.mark.parametrize(("go_on", "count"), [(True, 4), (False, 2)])
def test_a_chunk_goes_on_after_an_error_where_that_is_wanted(go_on, count):
    _, payload = calls.encode_call(shapes.halve_even, Mode.MAP, [2, 3, 4, 5])

    outcomes, first = calls._run(payload, {"go_on": go_on})

    assert [outcome.ok for outcome in outcomes] == [True, False, True, False][:count]
    assert outcomes.values[0] == 1
    assert first is outcomes.values[1]
    assert "in halve_even" in outcomes[1].traceback
    assert outcomes.seconds > 0


@pytest.mark.parametrize(
    ("mode", "item"), [(Mode.APPLY, [[2], {}]), (Mode.MAP, 2), (Mode.STARMAP, (2,))]
)
def test_an_item_becomes_arguments_as_its_mode_has_it(mode, item):
    _, payload = calls.encode_call(shapes.double, mode, [item])

    outcomes, first = calls._run(payload, {})

    assert (outcomes.values, first) == ([4], None)


def test_one_result_that_cannot_travel_costs_the_others_nothing():
    came = encoded(Outcome(True, 1), Outcome(True, (n for n in "ab")), Outcome(True, {3}))

    assert came[0].result() == 1
    assert came[2].result() == {3}
    with pytest.raises(NotPortable, match="generator"):
        came[1].result()


def test_an_error_that_cannot_travel_is_told_by_its_name_and_text():
    came = encoded(Outcome(False, shapes.Holding(open), "remote lines"))

    with pytest.raises(calls.exceptions.RemoteError, match=rf"{HERE}.Holding: .*open"):
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

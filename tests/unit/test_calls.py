"""A call becomes bytes and a few words for people; its outcomes become values again."""

import functools

import pytest

from shared.calls import codec, encoding, running
from shared.calls.encoding import Mode
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
    shown, payload = encoding.encode_call(function, Mode.APPLY, [((1,), {})])

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
    shown = encoding.arguments_repr(mode, items)

    assert shown == (args, kwargs)


@pytest.mark.parametrize("count", [1, 2])
def test_what_people_read_of_large_arguments_stays_short(count):
    args, kwargs = encoding.arguments_repr(Mode.MAP, ["x" * 100_000] * count)

    assert len(args) < 500
    assert len(kwargs) < 500


@pytest.mark.parametrize("count", [1, 2])
def test_an_argument_whose_repr_fails_can_be_sent_all_the_same(count):
    args, _ = encoding.arguments_repr(Mode.MAP, [shapes.Broken()] * count)

    assert "Broken" in args


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda: 1, NotPortable),
        (shapes.called_elsewhere, NotPortable),
        (functools.partial(lambda: 1), NotPortable),
        (functools.partial(eval), NotAllowed),
        (shapes.system, NotAllowed),
        (3, TypeError),
    ],
)
def test_what_no_worker_could_run_is_refused_before_it_is_sent(function, error):
    with pytest.raises(error):
        encoding.encode_call(function, Mode.MAP, [1])


def test_a_function_that_is_another_by_now_is_refused_although_it_was_called_before(monkeypatch):
    function = shapes.double
    encoding.encode_call(function, Mode.MAP, [1])
    monkeypatch.setattr(shapes, "double", shapes.Point)

    with pytest.raises(NotPortable, match="is another object there"):
        encoding.encode_call(function, Mode.MAP, [1])


def test_partials_of_one_function_are_not_taken_for_each_other():
    payloads = {
        encoding.encode_call(function, Mode.MAP, [1])[1]
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
        encoding.encode_call(shapes.double, Mode.MAP, ["x" * 2000])


@pytest.mark.parametrize(("go_on", "count"), [(True, 4), (False, 2)])
def test_a_chunk_goes_on_after_an_error_where_that_is_wanted(go_on, count):
    _, payload = encoding.encode_call(shapes.halve_even, Mode.MAP, [2, 3, 4, 5])

    outcomes, first = running._run(payload, {"go_on": go_on})

    assert [outcome.ok for outcome in outcomes] == [True, False, True, False][:count]
    assert outcomes.values[0] == 1
    assert first is outcomes.values[1]
    assert "in halve_even" in outcomes[1].traceback
    assert outcomes.seconds > 0


@pytest.mark.parametrize(
    ("mode", "item"), [(Mode.APPLY, [[2], {}]), (Mode.MAP, 2), (Mode.STARMAP, (2,))]
)
def test_an_item_becomes_arguments_as_its_mode_has_it(mode, item):
    _, payload = encoding.encode_call(shapes.double, mode, [item])

    outcomes, first = running._run(payload, {})

    assert (outcomes.values, first) == ([4], None)

"""A task past its deadline: the states that the result backend still stores."""

from types import SimpleNamespace

import pytest

from shared.broker import results
from worker import deadlines


@pytest.fixture
def stored(monkeypatch):
    """The states that reach the result backend; the task with the delivery tag `late` is late."""
    states = []
    monkeypatch.setattr(deadlines, "_late", {"late"})
    monkeypatch.setattr(
        results.Backend,
        "store_result",
        lambda self, task_id, result, state, **_: states.append(state),
    )
    return states


@pytest.mark.parametrize(("tag", "expected"), [("late", []), ("in time", ["STARTED"])])
def test_a_late_task_is_not_said_to_run(stored, tag, expected):
    backend = object.__new__(deadlines.Backend)
    request = SimpleNamespace(properties={"delivery_tag": tag})

    backend.store_result("id", {}, "STARTED", request=request)
    assert stored == expected

    backend.store_result("id", ValueError(), "FAILURE", request=request)
    assert stored == [*expected, "FAILURE"]

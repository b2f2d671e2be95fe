"""The short form of the search: no order of steps breaks a promise, and each mistake is found."""

import re

import pytest

from tests.model import protocol
from tests.model.__main__ import main
from tests.model.kombu import Kombu
from tests.model.protocol import Protocol
from tests.model.search import STUCK, search
from tests.model.searches import LONG, MUTANTS, RESTART, SHORT
from tests.support import ROOT

# A search that visits fewer states has lost a step, so it shows nothing.
FEWEST = {
    "send and take": 500,
    "kill": 2_000,
    "pause": 2_000,
    "fail and retry": 700,
    "cancel and countdown": 200,
    "order": 1_000,
}


@pytest.mark.parametrize("one", SHORT, ids=[one.name for one in SHORT])
def test_no_order_of_steps_breaks_a_promise(one):
    found = search(one.model())

    assert (found.violation, found.trace) == ("", [])
    assert found.states > FEWEST[one.name]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_found(name):
    _, one = MUTANTS[name]

    found = search(one.model(mutant=name))

    assert found.violation
    assert found.trace


@pytest.mark.parametrize("one", sorted({one for _, one in MUTANTS.values()} - {*SHORT, *LONG}))
def test_the_search_that_finds_a_mistake_finds_none_without_it(one):
    assert search(one.model()).violation == ""


def test_each_mistake_stands_in_the_model():
    text = (ROOT / "tests/model/protocol.py").read_text(encoding="utf-8")

    assert set(re.findall(r'self\.mutant [!=]= "([^"]+)"', text)) == set(MUTANTS)


def test_the_search_shows_how_kombus_own_way_loses_a_task():
    found = search(Kombu())

    assert found.violation == "task 0 is lost"
    assert found.trace == [
        "task 0 is sent",
        "the worker pops task 0 (BRPOP)",
        "the worker is killed",
    ]


def test_the_search_shows_what_waits_if_redis_loses_an_acknowledgement():
    found = search(RESTART.model())

    assert found.violation == STUCK
    assert len(found.trace) == 4


def test_a_search_without_symmetry_visits_more_states_and_finds_the_same():
    one = next(one for one in SHORT if one.name == "fail and retry")

    every, fewer = search(one.model(symmetry=False)), search(one.model())

    assert (every.violation, every.depth) == (fewer.violation, fewer.depth)
    assert every.states > 1.5 * fewer.states


def test_every_step_happens_in_some_search():
    happened = set()
    actions = {action.__name__ for action in (*Protocol.STEPS, *Protocol.OUTSIDE)}

    class Watched(Protocol):
        STEPS = tuple(_watch(action, happened) for action in Protocol.STEPS)
        OUTSIDE = tuple(_watch(action, happened) for action in Protocol.OUTSIDE)

    for one in SHORT:
        search(one.model(kind=Watched))

    assert happened == actions


def _watch(action, happened):
    def watched(model, state):
        for step in action(model, state):
            happened.add(action.__name__)
            yield step

    return watched


def test_each_action_names_what_it_models():
    for action in (*Protocol.STEPS, *Protocol.OUTSIDE):
        assert action.__doc__, action.__name__
    for name in ("TAKE", "RENEW", "_RETURN", "_FORGET", "_BURY", "_RETRY", "PUSH_ONE", "SEND"):
        assert name in (ROOT / protocol.__file__).read_text(encoding="utf-8")


def test_the_command_prints_a_table_and_the_trace_of_a_mistake(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["model", "--short", "--workers", "1"])
    assert main() == 0
    assert re.search(r"order +1 × 3 +\d,\d{3} +\d+ +\d+\.\d  0", capsys.readouterr().out)

    monkeypatch.setattr("sys.argv", ["model", "--trace", "no limit"])
    assert main() == 1
    assert "was lost 2 times and is no dead letter" in capsys.readouterr().out

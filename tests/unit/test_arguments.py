"""Words of a command line become arguments, or one line that says what is wrong."""

from dataclasses import replace

import pytest

from producer import arguments, known
from shared.broker import catalogue
from shared.errors import NotAllowed
from shared.pools import PoolKind
from shared.tasks import CONTRACTS, contracts


@pytest.mark.parametrize(
    ("task", "words", "kwargs", "expected"),
    [
        ("printcount", ["3"], "{}", ([3], {})),
        ("sleep", ["0.5"], "{}", ([0.5], {})),
        ("count_steps", [], '{"label": "b", "steps": 2}', (["b", 2], {})),
        ("fetch", [], "{}", ([], {})),
    ],
)
def test_words_take_the_types_of_the_signature(task, words, kwargs, expected):
    parsed = arguments.parse(CONTRACTS[task], words, kwargs)

    assert parsed == expected


@pytest.mark.parametrize(
    ("task", "words", "kwargs", "names"),
    [
        ("printcount", ["abc"], "{}", ["count='abc'", "integer"]),
        ("printcount", [], "{}", ["missing", "count"]),
        ("printcount", ["1", "2"], "{}", ["too many"]),
        ("printcount", ["1"], '{"count": 2}', ["multiple values", "count"]),
        ("sleep", ["-1"], "{}", ["seconds='-1'", "greater than or equal to 0"]),
        ("sleep", ["inf"], "{}", ["seconds='inf'", "less than or equal to"]),
        ("sleep", ["1e10"], "{}", ["seconds='1e10'", "less than or equal to"]),
        ("sleep", ["1"], "{oops", ["--kwargs '{oops'", "not JSON"]),
        ("sleep", ["1"], "[1]", ["--kwargs '[1]'", "object"]),
        ("sleep", ["nan"], '{"wrong": 1}', ["wrong"]),
        ("sleep", [], "[" * 100_000, ["--kwargs '[[[", "not JSON"]),
        ("primes", [], f'{{"below": {"9" * 5000}}}', ["--kwargs", "not JSON", "digits"]),
        ("primes", ["9" * 5000], "{}", ["below='999", "..."]),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(task, words, kwargs, names):
    with pytest.raises(arguments.WrongUsage) as refused:
        arguments.parse(CONTRACTS[task], words, kwargs)

    text = str(refused.value)
    assert all(name in text for name in names)
    assert "\n" not in text
    assert len(text) < 500


def resize(photo, width: int = 800, *, grey: bool = False, sizes: list[int] | None = None):
    """Of a user."""


def anything(*args, **kwargs):
    """Of a user."""


RESIZE = contracts.of(resize, "own.resize", None)
ANYTHING = contracts.of(anything, "own.anything", None)


@pytest.mark.parametrize(
    ("contract", "words", "expected"),
    [
        (RESIZE, ["a.jpg", "--width", "200"], (["a.jpg", 200], {})),
        (RESIZE, ["a.jpg", "--width=200"], (["a.jpg", 200], {})),
        (RESIZE, ["--width", "-5", "a.jpg"], (["a.jpg", -5], {})),
        (RESIZE, ["a.jpg", "--grey"], (["a.jpg"], {"grey": True})),
        (RESIZE, ["a.jpg", "--no-grey"], (["a.jpg"], {"grey": False})),
        (RESIZE, ["a.jpg", "--grey=no"], (["a.jpg"], {"grey": False})),
        (RESIZE, ["a.jpg", "--sizes", "[1, 2]"], (["a.jpg"], {"sizes": [1, 2]})),
        (RESIZE, ["a.jpg", "--sizes", "null"], (["a.jpg"], {"sizes": None})),
        (RESIZE, ["--photo=--odd"], (["--odd"], {})),
        # Without a type a word is JSON if it can be, else text.
        (ANYTHING, ["1", "1.5", "true", "null"], ([1, 1.5, True, None], {})),
        (
            ANYTHING,
            ['"1"', "007", "1e999", "NaN", "a b"],
            (["1", "007", "1e999", "NaN", "a b"], {}),
        ),
        (ANYTHING, ['{"a": [1]}', "--more-x", "2"], ([{"a": [1]}], {"more_x": 2})),
    ],
)
def test_options_of_the_command_line_are_keyword_arguments(contract, words, expected):
    assert arguments.parse(contract, words, "{}") == expected


def test_words_after_two_dashes_are_arguments_whatever_they_look_like():
    parsed = arguments.parse(ANYTHING, ["a"], "{}", literal=["--width", "-x", "3"])

    assert parsed == (["a", "--width", "-x", 3], {})


@pytest.mark.parametrize(
    ("words", "kwargs", "names"),
    [
        (["a.jpg", "--width", "abc"], "{}", ["width='abc'", "integer"]),
        (["a.jpg", "--width"], "{}", ["--width needs a value"]),
        (["a.jpg", "--wdth", "3"], "{}", ["--wdth", "did you mean '--width'"]),
        (["a.jpg", "--cuont", "3"], "{}", ["--cuont", "did you mean '--count'"]),
        (["a.jpg", "--width", "1", "--width", "2"], "{}", ["--width is given twice"]),
        (["a.jpg", "--width", "1"], '{"width": 2}', ["'width' is given twice"]),
        (["a.jpg", "-w", "1"], "{}", ["No such option: -w", "after --"]),
        (["a.jpg", "--zzz", "1"], "{}", ["No such option: --zzz. The task is"]),
        (["a.jpg", "--sizes", '["x"]'], "{}", ["sizes='[\"x\"]'", "integer"]),
        (["--photo", "a.jpg", "b.jpg"], "{}", ["multiple values", "photo"]),
    ],
)
def test_an_option_that_does_not_fit_is_told_in_one_line(words, kwargs, names):
    with pytest.raises(arguments.WrongUsage) as refused:
        arguments.parse(RESIZE, words, kwargs, options=["--count", "--pool"])

    text = str(refused.value)
    assert all(name in text for name in names), text
    assert "\n" not in text


@pytest.fixture
def living(monkeypatch):
    """Workers of two pools, of which one has the user's tasks."""
    found = catalogue.Catalogue(
        tasks={name: replace(RESIZE, name=name) for name in ("own.resize", "a.add", "b.add")},
        functions={"own:plain": replace(RESIZE, name="own:plain")},
        queues={name: {"gevent"} for name in ("own.resize", "a.add", "b.add")},
        consumed={"gevent", "threads"},
    )
    monkeypatch.setattr(catalogue, "read", lambda: found)
    return found


@pytest.mark.parametrize(
    ("name", "found", "queue"),
    [
        ("own.resize", "own.resize", "gevent"),
        ("resize", "own.resize", "gevent"),
        ("b.add", "b.add", "gevent"),
        ("sleep", "sleep", "threads"),
        ("own:plain", "own:plain", "gevent"),
        ("examples.more:not_seen_yet", "examples.more:not_seen_yet", "gevent"),
    ],
)
def test_a_task_is_found_by_the_end_of_its_name_and_goes_where_a_worker_has_it(
    living, name, found, queue
):
    contract, to = known.find(name)

    assert (contract.name, to) == (found, queue)


@pytest.mark.parametrize(
    ("name", "pool", "error", "names"),
    [
        ("prntcount", None, arguments.WrongUsage, ["did you mean 'printcount'"]),
        ("resise", None, arguments.WrongUsage, ["no living worker", "did you mean 'resize'"]),
        ("xyzzy", None, arguments.WrongUsage, ["no living worker", "TASK_MODULES"]),
        ("add", None, arguments.WrongUsage, ["'a.add' or 'b.add'"]),
        ("own:plian", None, arguments.WrongUsage, ["did you mean 'own:plain'"]),
        (":plain", None, arguments.WrongUsage, ["module:function"]),
        ("os:system", None, NotAllowed, ["TASK_MODULES"]),
        ("resize", PoolKind.THREADS, known.NotThere, ["'threads'", "'gevent'"]),
    ],
)
def test_what_no_living_worker_has_is_refused_with_the_nearest_name(
    living, name, pool, error, names
):
    with pytest.raises(error) as refused:
        known.find(name, pool)

    assert all(part in str(refused.value) for part in names), refused.value


def test_a_pool_without_any_worker_may_be_chosen(living):
    assert known.find("resize", PoolKind.PREFORK)[1] == PoolKind.PREFORK.value


def test_without_any_worker_only_the_ready_made_tasks_are_known(monkeypatch):
    monkeypatch.setattr(catalogue, "read", catalogue.Catalogue)

    assert known.find("sleep")[0].name == "sleep"
    with pytest.raises(arguments.WrongUsage, match="no worker is alive"):
        known.find("resize")

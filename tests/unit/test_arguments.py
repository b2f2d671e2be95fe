"""Words of a command line become arguments, or one line that says what is wrong."""

import pytest

from producer import arguments
from shared.tasks import CONTRACTS


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


def test_a_misspelt_task_is_answered_with_the_nearest_one():
    with pytest.raises(arguments.WrongUsage) as refused:
        arguments.find("prntcount")

    assert "did you mean 'printcount'" in str(refused.value)

"""What a worker publishes of a task is what a producer reads, and odd entries harm nobody."""

import enum
import inspect
import json
import pathlib
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError

from shared import tasks
from shared.tasks import contracts


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def travelled(function):
    contract = contracts.of(function, "name", "queue")
    return contracts.from_json(json.loads(json.dumps(contracts.to_json(contract))))


def takes(annotation):
    def function(value):
        """Help."""

    function.__annotations__ = {"value": annotation}
    return travelled(function)


@pytest.mark.parametrize("contract", tasks.CONTRACTS.values(), ids=lambda c: c.name)
def test_the_contract_of_a_ready_made_task_reads_as_it_was_published(contract):
    published = json.loads(json.dumps(contracts.to_json(contract)))

    assert str(contracts.from_json(published)) == str(contract)


@pytest.mark.parametrize(
    ("annotation", "fits", "does_not"),
    [
        (int, 1, "x"),
        (float, 1.5, "x"),
        (bool, True, "x"),
        (str, "x", 1),
        (None, None, 1),
        (list[int], [1], ["x"]),
        (set[int], [1], ["x"]),
        (tuple[int, str], (1, "x"), ("x", "x")),
        (tuple[int, ...], [1, 2], ["x"]),
        (dict[str, float], {"a": 1.0}, {"a": "x"}),
        (int | None, None, "x"),
        (list[int] | None, [1], "x"),
        (Literal["a", "b"], "a", "c"),
        (Colour, "red", "green"),
        (pathlib.Path, "x/y", 1),
        (NonNegativeInt, 0, -1),
        (Annotated[float, Field(gt=0, le=2)], 2, 0),
        (Annotated[str, Field(min_length=2)], "ab", "a"),
        ("int", 1, "x"),
    ],
    ids=str,
)
def test_a_type_is_checked_where_it_is_read_as_where_it_is_written(annotation, fits, does_not):
    annotation = takes(annotation).signature.parameters["value"].annotation

    assert TypeAdapter(annotation).validate_python(fits) == fits
    with pytest.raises(ValidationError):
        TypeAdapter(annotation).validate_python(does_not)


@pytest.mark.parametrize("annotation", [object, Any, "NotImported", "list[Nowhere]", type, print])
def test_a_type_that_does_not_travel_becomes_any_value(annotation):
    annotation = takes(annotation).signature.parameters["value"].annotation

    assert TypeAdapter(annotation).validate_python({"x": [1]}) == {"x": [1]}


def test_a_contract_shows_which_parameters_are_named_only_and_which_never_are():
    def function(a, /, b, *, c, d=1):
        pass

    assert str(travelled(function)) == "name(a, /, b, *, c, d = 1)"


def test_kinds_defaults_and_the_first_line_of_help_travel():
    def function(a, /, b=1, *rest: int, c, d: str = "x", **more):
        """First line.

        Second.
        """

    read = travelled(function)

    assert str(read) == "name(a, /, b = 1, *rest: int, c, d: str = 'x', **more)"
    assert [p.kind for p in read.signature.parameters.values()] == [
        p.kind for p in inspect.signature(function).parameters.values()
    ]
    assert read.help == "First line."
    assert read.queue == "queue"


@pytest.mark.parametrize("function", [dict.fromkeys, print, max, type("C", (), {})], ids=repr)
def test_whatever_can_be_called_has_a_contract(function):
    assert travelled(function).name == "name"


GOOD = {"name": "a", "queue": None, "help": "", "parameters": []}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        1,
        "text",
        [],
        {},
        {**GOOD, "name": 5},
        {**GOOD, "name": ""},
        {**GOOD, "name": None},
        {**GOOD, "name": "evil\x1b[31m"},
        {**GOOD, "name": "two\nlines"},
        {**GOOD, "queue": 5},
        {**GOOD, "queue": "\x07"},
        {**GOOD, "help": []},
        {**GOOD, "parameters": None},
        {**GOOD, "parameters": [1]},
        {**GOOD, "parameters": [{}]},
        {**GOOD, "parameters": [{"name": "a b", "kind": "POSITIONAL_ONLY"}]},
        {**GOOD, "parameters": [{"name": "a", "kind": "SIDEWAYS"}]},
        *(
            {**GOOD, "parameters": [{"name": "a", "kind": "KEYWORD_ONLY", "type": kind}]}
            for kind in (
                "os.system",
                5,
                [],
                ["list"],
                ["literal"],
                ["union"],
                ["union", "None", "None"],
                ["limited", "int", {"shell": 1}],
                ["limited", "int", []],
                ["shown", "Nothing", "x"],
                ["nonsense", "int"],
                {"a": 1},
            )
        ),
    ],
    ids=repr,
)
def test_an_entry_that_is_no_contract_is_refused_in_a_foreseen_way(entry):
    with pytest.raises(contracts.ODD):
        contracts.from_json(entry)


def test_a_type_that_is_nested_too_deeply_is_refused():
    kind = "int"
    for _ in range(50):
        kind = ["list", kind]
    entry = {**GOOD, "parameters": [{"name": "a", "kind": "KEYWORD_ONLY", "type": kind}]}

    with pytest.raises(ValueError, match="deeply"):
        contracts.from_json(entry)

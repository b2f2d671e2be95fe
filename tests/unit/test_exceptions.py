"""An exception becomes data and is the same exception again; unknown ones get a stand-in."""

import inspect
import subprocess
import sys
import threading
from multiprocessing.pool import RemoteTraceback

import pytest

from shared import errors
from shared.calls import exceptions
from shared.calls.outcomes import Outcome
from shared.errors import RemoteError
from tests.unit import shapes


def again(error):
    return exceptions.rebuild(*exceptions.parts(error))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 1),
        OSError(2, "gone", "file", None, "other"),
        subprocess.CalledProcessError(3, ["ls"], "out", "err"),
        subprocess.TimeoutExpired(["ls"], 1.5),
        threading.BrokenBarrierError(),
        shapes.TwoArguments("a", "b"),
        shapes.Holding(shapes.Point(1, 2)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_is_itself_again(error):
    rebuilt = again(error)

    assert type(rebuilt) is type(error)
    assert rebuilt.args == error.args
    assert vars(rebuilt) == vars(error)
    assert str(rebuilt) == str(error)


OURS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.DaySixError)
]
EXAMPLES = {int: 3, float: 1.5, str: "text"}


@pytest.mark.parametrize("kind", OURS)
def test_each_of_our_own_errors_crosses_with_its_text_of_one_line(kind):
    annotations = kind.__init__.__annotations__ if inspect.isfunction(kind.__init__) else {}
    arguments = [EXAMPLES[wanted] for name, wanted in annotations.items() if name != "return"]
    error = kind(*arguments)

    rebuilt = again(error)

    assert type(rebuilt) is kind
    assert str(rebuilt) == str(error)
    assert "\n" not in str(rebuilt)


@pytest.mark.parametrize("kind", OURS)
def test_the_docstring_of_each_of_our_errors_says_when_it_is_raised(kind):
    assert inspect.getdoc(kind).startswith("Raised when")


@pytest.mark.parametrize("kind", OURS)
def test_each_of_our_errors_stands_in_the_list_of_names(kind):
    assert kind.__name__ in errors.__all__
    assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("module", "qualname"),
    [
        ("no.such.module", "Error"),
        ("builtins", "NoSuchError"),
        ("builtins", "print"),
        ("builtins", "int"),
        ("tests.unit.shapes", "Missing"),
        ("tests.unit.shapes", "Point"),
        ("tests.unit.shapes", "os.system"),
        ("subprocess", "Popen"),
        ("turtledemo.colormixer", "Error"),
        ("os", "system"),
        ("", ""),
    ],
)
def test_what_is_no_known_exception_becomes_a_stand_in_and_imports_nothing(module, qualname):
    before = set(sys.modules)

    rebuilt = exceptions.rebuild(module, qualname, ["what", 1], {})

    assert type(rebuilt) is RemoteError
    assert str(rebuilt) == f"{module}.{qualname}: what, 1"
    assert set(sys.modules) == before


def test_the_remote_traceback_is_the_cause_as_in_the_standard_library():
    try:
        shapes.Point(1).length()
    except TypeError as error:
        text = exceptions.describe(error)
        outcome = Outcome(False, again(error), text)

    with pytest.raises(TypeError) as raised:
        outcome.result()

    assert type(raised.value.__cause__) is RemoteTraceback
    assert "test_exceptions.py" in str(raised.value.__cause__)
    assert "missing 1 required positional argument" in str(raised.value.__cause__)


def test_the_description_shows_what_the_error_came_from():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        text = exceptions.describe(error)

    assert "KeyError: 'first'" in text
    assert "ValueError: second" in text
    assert "direct cause" in text

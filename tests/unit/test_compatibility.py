"""docs/compatibility.md says what is so."""

import importlib
import inspect
import re
import types
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "compatibility.md").read_text()
OURS = {"concurrent.futures": "shared.futures"}
# Public in newer Pythons only.
NEWER = {
    ("concurrent.futures", "InterpreterPoolExecutor"),
    ("concurrent.futures", "InvalidStateError"),
}


def rows():
    """(module, name) → (here, difference), as the page has them."""
    found = {}
    module = None
    for line in PAGE.splitlines():
        if line.startswith("## "):
            module = line[3:]
        elif row := re.match(r"\| `(\w+)` \| (\w+) \| (.*?) ?\|$", line):
            found[module, row[1]] = (row[2], row[3])
    return found


ROWS = rows()


def theirs(module):
    """The public names of a module of the standard library, and what they are."""
    library = importlib.import_module(module)
    names = getattr(library, "__all__", None) or [
        name
        for name, value in vars(library).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", module) == module
    ]
    return {name: getattr(library, name) for name in names if hasattr(library, name)}


def ours(module):
    name = OURS.get(module, module.replace("multiprocessing", "shared.multiprocessing", 1))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def parameters(function):
    """Names, kinds and defaults; annotations, and a context that only they need, left out."""
    return [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in ("ctx", "self")
    ]


def generic(function):
    """Whether a signature says nothing: a builtin's, or one that hands on whatever it gets."""
    try:
        kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    except ValueError:
        return True
    return inspect.Parameter.VAR_POSITIONAL in kinds


@pytest.mark.parametrize("module", sorted({module for module, _ in ROWS}))
def test_it_names_every_public_name_and_no_other(module):
    here = {name for there, name in ROWS if there == module}
    missing = {name for there, name in NEWER if there == module} - set(theirs(module))

    assert here == set(theirs(module)) | missing


@pytest.mark.parametrize(("module", "name"), sorted(ROWS))
def test_what_it_says_of_a_name_is_so(module, name):
    here, difference = ROWS[module, name]
    if here == "absent":
        assert not hasattr(ours(module), name)
    else:
        assert hasattr(ours(module), name)
    assert here in ("same", "differs", "absent")
    assert bool(difference) == (here != "same")


@pytest.mark.parametrize(
    ("module", "name"), sorted(k for k, v in ROWS.items() if v[0] == "same" and k not in NEWER)
)
def test_what_is_the_same_takes_the_same_parameters(module, name):
    their, our = theirs(module)[name], getattr(ours(module), name)
    if not callable(their) or their is our:
        assert their == our or type(their) is type(our)
        return
    if not generic(their) and not (inspect.isclass(their) and issubclass(their, Exception)):
        assert parameters(our) == parameters(their)
    if not inspect.isclass(their):
        return
    for method in (method for method in dir(their) if not method.startswith("_")):
        function = getattr(their, method)
        assert hasattr(our, method), method
        if callable(function) and not generic(function):
            assert parameters(getattr(our, method)) == parameters(function), method

"""Functions of the fixed list are called by name; everything else of the interpreter is not."""

import builtins
import functools
import math
import operator
import os
import random
import re
import subprocess
import sys
import time
import types

import pytest

from shared.calls import codec, encoding, harmless, references
from shared.calls.encoding import Mode
from shared.calls.running import _run
from shared.errors import NotAllowed, NotPortable

LISTED = sorted(harmless.references())
# Opens, runs, imports, evaluates, or reads and writes attributes by name.
NEVER = re.compile(
    r"\b(open|exec|eval|compile|__\w+|input|breakpoint|getattr|setattr|delattr|hasattr|vars|dir"
    r"|globals|locals|type|super|property|memoryview|help|exit|quit|format_map|attrgetter"
    r"|methodcaller|system|popen|spawn\w*|fork|exec\w+|kill|remove|unlink|rmdir|environ|getenv"
    r"|literal_eval|load|save|fromfile|tofile|memmap|vectorize|frompyfunc|import_module)$"
)
# They merely have such a name.
HARMLESS_ALL_THE_SAME = {
    "builtins:list.remove",
    "builtins:set.remove",
    "builtins:bytearray.remove",
    "platform:system",
}


def run(function, mode, *items):
    _, payload = encoding.encode_call(function, mode, list(items))
    outcomes, error = _run(payload, {})
    assert error is None, error
    return outcomes.values


def named(thing):
    """The same in every process that collects these tests: no address, no process id."""
    return getattr(thing, "__qualname__", type(thing).__name__)


@pytest.mark.parametrize(
    ("function", "arguments", "value"),
    [
        (pow, (323, 1235), 323**1235),
        (pow, (2, 5, 7), 4),
        (len, ([1, 2],), 2),
        (sum, ([1, 2],), 3),
        (int, ("17",), 17),
        (str.upper, ("word",), "WORD"),
        (", ".join, (["a", "b"],), "a, b"),
        ({"key": 1}.get, ("key",), 1),
        (dict.fromkeys, ("ab",), {"a": None, "b": None}),
        (int.from_bytes, (b"\x01\x00", "big"), 256),
        (math.factorial, (20,), math.factorial(20)),
        (operator.mul, (6, 7), 42),
        (time.sleep, (0,), None),
        (os.getpid, (), os.getpid()),
        (os.path.join, ("a", "b"), "a/b"),
        (random.randint, (3, 3), 3),
        (functools.partial(pow, 2), (8,), 256),
        (functools.reduce, (operator.add, [1, 2, 3]), 6),
        (sorted, ([3, 1, 2],), [1, 2, 3]),
    ],
    ids=named,
)
def test_a_function_of_the_standard_library_is_called_by_name(function, arguments, value):
    assert run(function, Mode.APPLY, [list(arguments), {}]) == [value]


def test_numpys_functions_are_called_by_name_and_imported_by_nobody_else():
    numpy = pytest.importorskip("numpy")

    assert run(numpy.sqrt, Mode.MAP, 4.0, 9.0) == [2.0, 3.0]
    assert run(numpy.mean, Mode.MAP, [1.0, 3.0]) == [2.0]


@pytest.mark.parametrize("module", sorted({name.partition(":")[0] for name in LISTED}))
def test_each_name_of_the_list_leads_to_one_object_and_back(module):
    pytest.importorskip(module)
    names = [name for name in LISTED if name.partition(":")[0] == module]
    targets = [found for found in map(harmless.find, names) if found is not None]  # by version

    again = [references.resolve(references.reference(target)) for target in targets]

    assert len(targets) > len(names) - 4
    assert again == targets
    assert not any(isinstance(target, types.ModuleType) for target in targets)


def test_the_list_names_nothing_that_opens_runs_imports_or_evaluates():
    names = set(LISTED) - HARMLESS_ALL_THE_SAME

    assert not [name for name in names if NEVER.search(name) or name == "builtins:str.format"]
    assert not any(name.startswith(("subprocess:", "sys:", "importlib:", "io:")) for name in LISTED)


@pytest.mark.parametrize(
    "function",
    [
        *(
            getattr(builtins, name)
            for name in [
                "eval",
                "exec",
                "compile",
                "open",
                "input",
                "getattr",
                "setattr",
                "delattr",
                "hasattr",
                "vars",
                "dir",
                "type",
                "globals",
                "locals",
                "breakpoint",
                "__import__",
                "memoryview",
                "map",
                "filter",
                "iter",
                "next",
                "super",
            ]
        ),
        os.system,
        os.popen,
        os.kill,
        os.remove,
        os.getenv,
        os.path.exists,
        subprocess.run,
        sys.exit,
        sys._getframe,
        str.format,
        str.format_map,
        "{0.__class__}".format,
        operator.attrgetter,
        operator.methodcaller,
        object.__getattribute__,
        object().__reduce_ex__,
        type.__subclasses__,
        int.__subclasses__,
        (lambda: None).__get__,
        os.environ.get,
        types.FunctionType,
        types.CodeType,
    ],
    ids=named,
)
def test_what_opens_runs_imports_or_reads_attributes_is_refused(function):
    with pytest.raises((NotAllowed, NotPortable)) as refused:
        encoding.encode_call(function, Mode.MAP, [1])

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "builtins:eval",
        "builtins:str.format",
        "builtins:str.__class__",
        "builtins:len.__self__",
        "builtins:len.__call__",
        "os:system",
        "posix:getpid",
        "os.path:os",
        "os:getpid.__self__",
        "time:sleep ",
        " time:sleep",
        "random:_os",
        "numpy:load",
        "numpy.linalg:norm.__globals__",
        "json:dumps.__globals__",
        "types:FunctionType",
    ],
)
def test_a_name_beside_the_list_is_refused(name):
    with pytest.raises((NotAllowed, NotPortable)):
        references.resolve(name)


@pytest.mark.parametrize(
    ("function", "advice"),
    [(os.system, "call it inside a function of a module there"), (pytest.raises, "add '_pytest'")],
)
def test_the_refusal_says_what_helps(function, advice):
    with pytest.raises(NotAllowed, match=advice):
        references.reference(function)


@pytest.mark.parametrize("name", ["__class__", "format", "__init__", "__reduce_ex__", "no_such"])
def test_a_method_of_a_built_in_value_beside_the_list_is_not_handed_out(name):
    data = codec.dumps(", ".join)
    forged = data.replace(b"\xa4join", bytes([0xA0 + len(name)]) + name.encode())
    forged = forged[:1] + bytes([forged[1] + len(name) - 4]) + forged[2:]

    with pytest.raises((NotAllowed, NotPortable)):
        codec.loads(forged)


@pytest.mark.parametrize(
    "kind", [int, str, dict, ValueError, KeyError, type(None), type(...), bytes, object]
)
def test_a_type_of_the_list_is_an_argument_like_any_other(kind):
    assert codec.loads(codec.dumps([kind, (kind,)])) == [kind, (kind,)]

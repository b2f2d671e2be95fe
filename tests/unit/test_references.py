"""A name leads to what it was made from, and to nothing outside the allow-list."""

import collections.abc
import math
import os
import sys

import pytest

from shared.calls import encoding, references
from shared.errors import CodeDiffers, NotAllowed, NotPortable
from tests.support import ROOT
from tests.unit import shapes

HERE = "tests.unit.shapes"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (shapes.double, f"{HERE}:double"),
        (shapes.Point, f"{HERE}:Point"),
        (shapes.Point.Inner, f"{HERE}:Point.Inner"),
        (shapes.Point.Inner.who, f"{HERE}:Point.Inner.who"),
        (shapes.Point.unit, f"{HERE}:Point.unit"),
        (shapes.Point.length, f"{HERE}:Point.length"),
        (shapes.Colour, f"{HERE}:Colour"),
    ],
)
def test_a_name_leads_back_to_what_it_was_made_from(target, name):
    made = references.reference(target)

    assert made == name
    assert references.resolve(made) is target


@pytest.mark.parametrize(
    ("modules", "target"),
    [("builtins", len), ("builtins", dict), ("math", math.sqrt)],
)
def test_builtin_functions_and_classes_travel_once_their_module_is_allowed(allow, modules, target):
    allow(modules)

    name = references.reference(target)

    assert references.resolve(name) is target


@pytest.mark.parametrize("target", [eval, type, os.system, os.path.exists, collections.abc.Mapping])
def test_what_the_interpreter_brings_is_refused_unless_allowed(target):
    with pytest.raises(NotAllowed, match="TASK_MODULES"):
        references.reference(target)


def test_a_class_method_can_be_what_a_call_runs():
    name, _ = encoding.encode_call(shapes.Point.origin, encoding.Mode.APPLY, [((), {})])

    assert name == f"{HERE}.Point.origin"


@pytest.mark.parametrize("target", [shapes.Point.unit, shapes.Point(3, 4).length, shapes.Point])
def test_static_methods_bound_methods_and_classes_can_be_what_a_call_runs(target):
    name, _ = encoding.encode_call(target, encoding.Mode.APPLY, [((), {})])

    assert name.startswith(f"{HERE}.Point")


def local_function():
    def inner():
        return 1

    return inner


class Callable:
    def __call__(self):
        return 1


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (lambda: 1, "a lambda has no name"),
        (shapes.square, "a lambda has no name"),
        (local_function(), "inside a function"),
        (shapes.called_elsewhere, "inside a function"),
        (shapes.kept, "hidden"),
        (shapes.Misnamed, "Other"),
        (3, "no module and name"),
        ([].append, "no module and name|TASK_MODULES"),
        (Callable(), "no module and name"),
    ],
)
def test_what_has_no_name_of_its_own_is_refused_with_the_reason(allow, target, reason):
    allow("examples,tests")

    with pytest.raises((NotPortable, NotAllowed), match=reason) as refused:
        references.reference(target)

    assert "\n" not in str(refused.value)


def test_a_function_that_another_one_replaced_is_refused(monkeypatch):
    original = shapes.double
    monkeypatch.setattr(shapes, "double", lambda number: number)

    with pytest.raises(NotPortable, match="another object"):
        references.reference(original)


def test_a_function_of_a_module_that_was_removed_is_refused(monkeypatch):
    monkeypatch.delitem(sys.modules, HERE)

    with pytest.raises((NotPortable, NotAllowed)):
        references.reference(shapes.double)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "subprocess:Popen",
        "tests:unit",
        "tests.unit:shapes",
        "tests.unit.test_references:local_function",
        "shared.calls.outbox:answer",
        "",
        ":",
        ":os.system",
        f"{HERE}",
        f"{HERE}:",
        f"{HERE}:system",
        f"{HERE}:rmtree",
        f"{HERE}:os",
        f"{HERE}:os.system",
        f"{HERE}:os.path.join",
        f"{HERE}:collections.OrderedDict",
        f"{HERE}:table",
        f"{HERE}:table.get",
        f"{HERE}:double.__globals__",
        f"{HERE}:double.__class__",
        f"{HERE}:double.__globals__.get",
        f"{HERE}:Point.__init__.__globals__",
        f"{HERE}:__builtins__",
        f"{HERE}:__builtins__.eval",
        f"{HERE}:__loader__.get_data",
        f"{HERE}:__dict__",
        f"{HERE}:missing",
        f"{HERE}:Point.missing",
        f"{HERE}:Colour.mro",
        f"{HERE}.missing:thing",
        f"{HERE}..:double",
        f".{HERE}:double",
        f" {HERE}:double",
    ],
)
def test_a_name_that_leads_anywhere_else_is_refused(name):
    with pytest.raises((NotPortable, NotAllowed)) as refused:
        references.resolve(name)

    assert "\n" not in str(refused.value)


def test_no_name_leads_through_a_module_even_to_what_is_allowed(allow):
    allow(f"{HERE},posix")

    with pytest.raises(NotPortable, match=r"has no 'os\.system'"):
        references.resolve(f"{HERE}:os.system")


@pytest.mark.parametrize(
    ("module", "allowed", "expected"),
    [
        ("examples", ("examples",), True),
        ("examples.pool", ("examples",), True),
        ("examples.deep.er", ("os", "examples"), True),
        ("examplesevil", ("examples",), False),
        ("examples_evil.pool", ("examples",), False),
        ("example", ("examples",), False),
        ("examples", ("examples.pool",), False),
        ("other.examples", ("examples",), False),
        ("Examples", ("examples",), False),
        ("", ("examples",), False),
        ("examples", (), False),
        (".examples", ("examples",), False),
    ],
)
def test_the_allow_list_names_modules_and_what_lies_in_them(module, allowed, expected):
    assert references.is_allowed(module, allowed) is expected


def test_a_module_whose_name_only_begins_like_an_allowed_one_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "examplesevil.py").write_text("def double(number): return number\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(NotAllowed):
        references.resolve("examplesevil:double")

    assert "examplesevil" not in sys.modules


@pytest.mark.parametrize(
    "text", ["1/0\n", "import no_such_module\n", "def (:\n", "raise SystemExit\n"]
)
def test_a_module_that_fails_at_its_import_is_told_as_such(tmp_path, monkeypatch, allow, text):
    (tmp_path / "faulty.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    allow("faulty")

    with pytest.raises(NotPortable, match="cannot import 'faulty'"):
        references.resolve("faulty:function")


def test_a_function_that_is_not_there_may_be_newer_than_the_worker():
    with pytest.raises(NotPortable, match=r"has no 'added'; .* restart the workers"):
        references.resolve(f"{HERE}:added")


def test_what_is_not_callable_is_not_taken_for_a_function(tmp_path, monkeypatch, allow):
    (tmp_path / "holds.py").write_text("class Thing: pass\nthing = Thing()\n")
    monkeypatch.syspath_prepend(tmp_path)
    allow("holds")

    with pytest.raises(NotPortable, match="Thing, not a function"):
        references.resolve_function("holds:thing")


def test_a_script_beside_this_package_has_its_name_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [])

    name = references._name_of_script(str(ROOT / "examples" / "s2_pool.py"), ("examples",))

    assert name == "examples.s2_pool"


# Fingerprints: worker and caller must have loaded the same source.


def test_the_fingerprint_changes_with_the_source(tmp_path, monkeypatch):
    marks = []
    for text in ("x = 1\n", "x = 1\n", "x = 2\n"):
        (tmp_path / "printed.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        __import__("printed")
        references.fingerprint.cache_clear()
        marks.append(references.fingerprint("printed"))
        del sys.modules["printed"]

    assert marks[0] == marks[1] != marks[2]
    assert all(marks)


def test_the_standard_library_has_no_fingerprint():
    assert references.fingerprint("json") == ""


def test_another_source_than_the_callers_is_refused_with_the_host():
    with pytest.raises(CodeDiffers, match=rf"{HERE}.*restart the workers"):
        references.check_fingerprint(HERE, "0123456789abcdef")


def test_the_same_source_or_an_unknown_one_is_accepted():
    references.check_fingerprint(HERE, references.fingerprint(HERE))
    references.check_fingerprint(HERE, "")

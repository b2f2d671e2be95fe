"""What the code imports is declared in pyproject.toml, and Celery's relatives are bounded."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OWN = {"shared", "worker", "producer", "examples", "tests", "bench", "tools"}
# What a caller may have: its values travel where it is, and nothing is missing where it is not.
OF_THE_CALLER = {"numpy", "pandas", "PIL", "backports", "brotli", "compression"}
# Modules that stand beside a script, and other queues that `bench` installs for itself.
BESIDE = {"helpers", "neighbour", "setup", "setuptools"}


def declared(*groups):
    """The names of distributions, as they are compared."""
    return {normal(re.match(r"[\w.-]+", line)[0]) for group in groups for line in group}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(*folders):
    """Each top-level module that is imported, with a place."""
    found = {}
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                for name in names:
                    place = f"{file.relative_to(ROOT)}:{node.lineno}"
                    found.setdefault(name.partition(".")[0], place)
    standard = {*sys.stdlib_module_names, "test"}
    return {name: place for name, place in found.items() if name not in OWN | standard}


def undeclared(modules, distributions):
    of = packages_distributions()
    return {
        name: place
        for name, place in modules.items()
        if not {normal(found) for found in of.get(name, [name])} & distributions
    }


def test_what_the_service_imports_is_declared():
    extras = PROJECT["project"]["optional-dependencies"].values()
    distributions = declared(PROJECT["project"]["dependencies"], *extras)

    missing = undeclared(imported("shared", "worker", "producer"), distributions)

    assert {n: place for n, place in missing.items() if n not in OF_THE_CALLER} == {}


def test_what_the_tests_import_is_declared():
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"].values()
    distributions = declared(PROJECT["project"]["dependencies"], *extras, *groups)

    missing = undeclared(imported("tests"), distributions)

    assert {n: place for n, place in missing.items() if n not in BESIDE} == {}


@pytest.mark.parametrize("name", ["billiard", "celery", "flower", "hiredis", "kombu", "redis"])
def test_a_package_whose_private_names_are_used_is_bounded(name):
    (line,) = [
        line
        for line in PROJECT["project"]["dependencies"]
        if normal(line).startswith(name) and re.match(rf"{name}(\[|>|<|=)", line)
    ]

    assert re.search(r"<\d", line)


def test_the_lock_has_each_package_that_is_declared():
    lock = (ROOT / "requirements" / "service.txt").read_text(encoding="utf-8")

    locked = {normal(name) for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", lock, re.MULTILINE)}

    assert declared(PROJECT["project"]["dependencies"]) <= locked


def test_the_exclusions_of_cpythons_tests_name_files_that_are_there():
    text = (ROOT / "tests" / "cpython" / "exclusions.py").read_text(encoding="utf-8")

    named = set(re.findall(r"tests/[\w/]+\.py", text))

    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []

"""The rooms of shared/, and who may import whom."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# From the bottom up: a room imports rooms of lower floors, and modules of its own.
FLOORS = (
    {"errors", "pools", "endings"},
    {"settings"},
    {"tasks"},
    {"broker"},
    {"app", "handles", "passwords"},
    {"publishing"},
    {"calls"},
    {"laboratory"},
    {"multiprocessing"},
    {"futures"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MOST_ROOMS = 14


def modules(package):
    paths = (ROOT / package).rglob("*.py")
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in paths}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


@cache
def imports(package):
    """For each module of a package, the modules of this project that it imports anywhere."""
    known = modules("shared") | modules("worker") | modules("producer")
    found = {}
    for name, path in modules(package).items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                named |= {one if one in known else node.module for one in full}
            elif isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
        found[name] = {one for one in named if one.partition(".")[0] in PACKAGES}
    return found


PACKAGES = ("shared", "worker", "producer")


def room(module):
    return module.split(".")[1]


def circles(graph):
    """Groups of modules that import each other, however far around."""

    def reachable(start):
        seen, ahead = set(), list(graph[start])
        while ahead:
            module = ahead.pop()
            if module in graph and module not in seen:
                seen.add(module)
                ahead += graph[module]
        return seen

    reach = {module: reachable(module) for module in graph}
    return {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in graph
        if module in reach[module]
    }


def test_every_room_of_shared_has_a_floor():
    rooms = {path.stem for path in (ROOT / "shared").iterdir() if path.suffix in ("", ".py")}

    assert rooms - {"__init__", "__pycache__", "py"} == FLOOR.keys()
    assert len(rooms - {"__init__", "__pycache__"}) <= MOST_ROOMS


def test_a_room_imports_only_lower_floors():
    upward = [
        f"{importer} imports {imported}"
        for importer, names in imports("shared").items()
        for imported in sorted(names)
        if "." in importer
        and "." in imported
        and room(imported) != room(importer)
        and FLOOR[room(imported)] >= FLOOR[room(importer)]
    ]

    assert upward == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package):
    assert circles(imports(package)) == set()


@pytest.mark.parametrize(
    ("package", "others"),
    [("shared", ("worker", "producer")), ("worker", ("producer",)), ("producer", ("worker",))],
)
def test_packages_do_not_import_each_other(package, others):
    wrong = [
        f"{importer} imports {imported}"
        for importer, names in imports(package).items()
        for imported in sorted(names)
        if imported.partition(".")[0] in others
    ]

    assert wrong == []


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}

    assert circles(graph) == {frozenset("abc")}

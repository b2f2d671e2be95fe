"""How the code is laid out: who imports whom, where names stand, what no file may do.

One test a rule; each lists the places that break it.
"""

import ast
import functools

from shared.pools import PoolKind
from tests.support import ROOT

PACKAGES = ("shared", "producer", "worker")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_FILES = sorted(
    path
    for path in ROOT.rglob("*")
    if path.suffix in (".py", ".yml", ".toml", ".sh") or path.name in ("Dockerfile", "Makefile")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
PYTHON_FILES = [path for path in ALL_FILES if path.suffix == ".py"]


@functools.cache
def parsed(path):
    """A file's docstring and all nodes of its syntax tree; each file is parsed once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return ast.get_docstring(tree), list(ast.walk(tree))


def nodes(path, *kinds):
    return [node for node in parsed(path)[1] if isinstance(node, kinds)]


def place(path, node=None):
    return str(path.relative_to(ROOT)) + (f":{node.lineno}" if node is not None else "")


def imported(path):
    """The top-level packages that a file imports, also inside its functions, and where."""
    for node in nodes(path, ast.Import, ast.ImportFrom, ast.Call):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "relative" if node.level else node.module.partition(".")[0], node
        elif getattr(node.func, "attr", "") == "import_module":
            for arg in node.args:
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str):
                    yield arg.value.partition(".")[0], node


def test_producer_and_worker_import_shared_and_never_each_other():
    others = {"shared": {"producer", "worker"}, "producer": {"worker"}, "worker": {"producer"}}

    offenders = [
        f"{place(path, node)} imports {name}"
        for path in FILES
        for name, node in imported(path)
        if name in {*others[path.relative_to(ROOT).parts[0]], "tests", "relative"}
    ]

    assert offenders == []


def test_the_name_of_a_pool_stands_in_the_pools_module_alone():
    names = {kind.value for kind in PoolKind}

    offenders = [
        f"{place(path, node)} says {node.value!r}"
        for path in FILES
        if place(path) != "shared/pools.py"
        for node in nodes(path, ast.Constant)
        if node.value in names
    ]

    assert offenders == []


def test_nothing_is_pickled():
    unsafe = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}

    offenders = [
        f"{place(path, node)} imports {name}"
        for path in PYTHON_FILES
        for name, node in imported(path)
        if name in unsafe
    ]

    assert offenders == []


def test_no_shell_is_started():
    offenders = [
        place(path, node)
        for path in PYTHON_FILES
        for node in nodes(path, ast.Call)
        if any(word.arg == "shell" for word in node.keywords)
        or ast.unparse(node.func) in ("os.system", "os.popen")
    ]

    assert offenders == []


def test_no_configuration_accepts_pickle():
    others = set(ALL_FILES) - set(PYTHON_FILES)

    assert others
    assert [place(path) for path in others if "pickle" in path.read_text(encoding="utf-8")] == []


def test_every_module_says_in_its_first_line_what_it_is():
    docstrings = {place(path): parsed(path)[0] or "" for path in FILES}

    offenders = [
        name
        for name, docstring in docstrings.items()
        if not docstring or "\n" in docstring.partition("\n\n")[0]
    ]

    assert offenders == []


def test_no_module_asserts_what_may_happen_to_a_user():
    assert [place(path, node) for path in FILES for node in nodes(path, ast.Assert)] == []


def test_the_helpers_of_the_tests_stand_in_their_support_module_alone():
    helpers = {"wait_until", "patient", "leased", "free_port", "unavailable", "RedisServer"}
    defined = {
        place(path, node): node.name
        for path in (ROOT / "tests").rglob("*.py")
        for node in nodes(path, ast.FunctionDef, ast.ClassDef)
        if node.name in helpers
    }

    assert set(defined.values()) == helpers
    assert [where for where in defined if not where.startswith("tests/support.py")] == []

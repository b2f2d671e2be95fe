"""How the code is laid out: who imports whom, what an import does, where names stand."""

import ast
import json
import subprocess
import sys

import pytest

from shared.pools import PoolKind
from tests.support import ROOT, patient

PACKAGES = ("shared", "producer", "worker")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_FILES = sorted(
    path
    for path in ROOT.rglob("*")
    if path.suffix in (".py", ".yml", ".toml", ".sh") or path.name in ("Dockerfile", "Makefile")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)


def relative(path):
    return str(path.relative_to(ROOT))


def imported(path):
    """The top-level packages that a file imports, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "relative" if node.level else node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (
                arg.value.partition(".")[0]
                for arg in node.args
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_producer_and_worker_import_shared_and_never_each_other(path):
    own = path.relative_to(ROOT).parts[0]
    others = {"shared": {"producer", "worker"}, "producer": {"worker"}, "worker": {"producer"}}

    found = set(imported(path))

    assert not found & {*others[own], "tests", "relative"}


IMPORT_ALL = """
import importlib, json, sys, threading
seen = []
def note(event, args):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo",
                 "subprocess.Popen", "os.system", "os.fork"):
        seen.append(f"{event} {args[1:2]}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if not str(args[0]).endswith((".pyc", ".pyo")) and "__pycache__" not in str(args[0]):
            seen.append(f"writes {args[0]}")
sys.addaudithook(note)
for name in json.load(sys.stdin):
    before = threading.active_count()
    importlib.import_module(name)
    if threading.active_count() > before:
        seen.append(f"{name} starts a thread")
print(json.dumps(seen))
"""


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_an_import_only_defines_and_connects_to_nothing():
    examples = sorted((ROOT / "examples").glob("s[1-9]_*.py"))
    names = [module_name(path) for path in [*FILES, *examples]]

    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL],  # files of bytecode are not meant
        input=json.dumps(names),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_the_name_of_a_pool_stands_in_the_pools_module_alone(path):
    names = {kind.value for kind in PoolKind}

    found = {
        f"line {node.lineno}: {node.value!r}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }

    assert relative(path) == "shared/pools.py" or not found


UNSAFE = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
PYTHON_FILES = [path for path in ALL_FILES if path.suffix == ".py"]


@pytest.mark.parametrize("path", PYTHON_FILES, ids=relative)
def test_nothing_is_pickled_and_no_shell_is_started(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]

    shells = [
        node.lineno
        for node in calls
        if any(word.arg == "shell" for word in node.keywords)
        or ast.unparse(node.func) in ("os.system", "os.popen")
    ]

    assert not UNSAFE & set(imported(path))
    assert not shells


@pytest.mark.parametrize("path", sorted(set(ALL_FILES) - set(PYTHON_FILES)), ids=relative)
def test_no_configuration_accepts_pickle(path):
    assert "pickle" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_module_says_in_its_first_line_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    assert docstring
    assert "\n" not in docstring.partition("\n\n")[0]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_module_asserts_what_may_happen_to_a_user(path):
    found = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]

    assert found == []

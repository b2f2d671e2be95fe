"""What is defined in `__main__` travels under the name that others import."""

import json
import os
import subprocess
import sys

import pytest

from tests.support import ROOT, patient

SCRIPT = """
import json
import sys

from shared.calls import codec, references
from shared.errors import DaySixError


class Point:
    pass


class Error(Exception):
    pass


def function():
    return 1


def told(make):
    try:
        return make()
    except DaySixError as refused:
        return f"{type(refused).__name__}: {refused}"


def own_again(thing):
    arrived = codec.loads(codec.dumps(thing))
    return type(arrived) is type(thing) and (arrived is thing or not isinstance(thing, type))


if __name__ == "__main__":
    before = set(sys.modules)
    said = {
        "name": told(lambda: references.reference(function)),
        "object": told(lambda: own_again(Point())),
        "error": told(lambda: own_again(Error("x"))),
        "class": told(lambda: own_again(Point)),
        "function": told(lambda: codec.loads(codec.dumps(function)) is function),
    }
    print(json.dumps({**said, "imported": [m for m in set(sys.modules) - before if "work" in m]}))
"""
COMMANDS = {
    "script": ["work/script.py"],
    "module": ["-m", "work.script"],
    "package": ["-m", "work"],
    "deep": ["work/deep/script.py"],
    "outside": ["other.py"],
    "evil": ["workevil.py"],
    "words": ["-c", SCRIPT],
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the script says, for each way of running it; all run at once."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("work/script", "work/__main__", "work/deep/script", "other", "workevil"):
        file = folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(SCRIPT)
    (folder / "work/__init__.py").touch()
    running = {
        name: subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TASK_MODULES": "work"},
            stdout=subprocess.PIPE,
        )
        for name, command in COMMANDS.items()
    }
    return {
        name: json.loads(done.communicate(timeout=patient(60))[0]) for name, done in running.items()
    }


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("script", "work.script:function"),
        ("module", "work.script:function"),
        ("package", "work.__main__:function"),
        ("deep", "work.deep.script:function"),
    ],
)
def test_a_function_of_the_running_script_has_the_name_that_others_import(said, way, name):
    assert said[way]["name"] == name


@pytest.mark.parametrize("way", ["script", "module", "package", "deep"])
@pytest.mark.parametrize("thing", ["object", "error", "class", "function"])
def test_what_comes_back_to_a_script_is_of_the_scripts_own_class(said, way, thing):
    assert said[way][thing] is True


@pytest.mark.parametrize("way", ["script", "module", "package", "deep"])
def test_the_running_script_is_not_run_a_second_time_under_its_own_name(said, way):
    assert said[way]["imported"] == []


@pytest.mark.parametrize(("way", "file"), [("outside", "other.py"), ("evil", "workevil.py")])
def test_a_script_outside_the_allow_list_is_refused_with_its_file(said, way, file):
    assert said[way]["name"].startswith("NotAllowed: ")
    assert file in said[way]["name"]
    assert "TASK_MODULES" in said[way]["name"]
    assert "producer run /" in said[way]["name"]


def test_a_function_without_a_file_is_refused_with_the_way_out(said):
    assert said["words"]["name"].startswith("NotPortable: ")
    assert "put it into a file" in said["words"]["name"]

"""Set-up says in one line what is missing and what to do."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, patient

SETUP = ROOT / "tools" / "setup.py"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=patient(120),
        check=False,
        env={**os.environ, **environment},
    )


def pretending(statement):
    return (
        f"import runpy, sys; sys.argv = ['setup.py', 'local']; {statement}; "
        f"runpy.run_path({str(SETUP)!r}, run_name='__main__')"
    )


def test_an_old_python_can_parse_it_and_is_told_what_to_do():
    text = SETUP.read_bytes().decode("ascii")  # for Python 2 all else is an error
    ast.parse(text, feature_version=(3, 6))

    done = run(pretending("sys.version_info = (3, 8, 18, 'final', 0)"))

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "set-up: Python 3.8 is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"
    ]


def old_pythons():
    """The interpreters of this machine that are too old, by their file."""
    folders = [*map(Path, os.get_exec_path()), *Path.home().glob(".pyenv/versions/*/bin")]
    names = ("python2.7", "python3.6", "python3.7", "python3.8", "python3.9", "python3.10")
    for found in (folder / name for name in names for folder in folders):
        if "shims" not in found.parts and os.access(found, os.X_OK):
            yield found


@pytest.mark.parametrize("python", sorted(old_pythons()), ids=lambda path: path.name)
def test_each_old_python_of_this_machine_is_told_in_one_line(python):
    done = subprocess.run(
        [python, SETUP, "local"], capture_output=True, text=True, timeout=patient(60), check=False
    )

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "is too old: install Python 3.11 or newer" in done.stderr


def test_a_python_without_venv_is_told_how_to_get_it(tmp_path):
    copy = copied(tmp_path)

    done = run(pretending("sys.modules['ensurepip'] = None").replace(str(SETUP), str(copy)))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "apt install python3-venv" in done.stderr


def test_a_broken_venv_is_made_anew_and_a_missing_package_index_told_in_one_line(tmp_path):
    copy = copied(tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/a/removed/python")
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "0",
        "PIP_FIND_LINKS": "",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }

    done = subprocess.run(
        [sys.executable, str(copy), "local"],
        capture_output=True,
        text=True,
        timeout=patient(120),
        check=False,
        env={**os.environ, **nowhere},
    )

    assert done.returncode == 1
    assert [line.partition(" (")[0] for line in done.stderr.splitlines()] == [
        "set-up: making .venv",
        "set-up: installing from requirements/local.txt",
        "set-up: cannot reach the package index: check the network, or name a mirror or proxy",
    ]
    assert subprocess.run([python, "-c", "import pip"], check=False).returncode == 0


def test_wrong_usage_ends_with_2():
    done = subprocess.run(
        [sys.executable, str(SETUP), "everything"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_the_locks_pin_hashes_and_name_no_package_host():
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "://" not in text, lock
        assert text.count("--hash=sha256:") >= text.count("=="), lock


def copied(folder):
    """The set-up script in a project folder of its own, so that it makes its own .venv."""
    (folder / "tools").mkdir()
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return Path(shutil.copy(SETUP, folder / "tools"))

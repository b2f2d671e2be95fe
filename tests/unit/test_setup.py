"""Set-up says in one line what is missing and what to do."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "tools" / "setup.py"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def pretending(statement):
    return (
        f"import runpy, sys; sys.argv = ['setup.py', 'local']; {statement}; "
        f"runpy.run_path({str(SETUP)!r}, run_name='__main__')"
    )


def test_an_old_python_can_parse_it_and_is_told_what_to_do():
    ast.parse(SETUP.read_text(), feature_version=(3, 6))

    done = run(pretending("sys.version_info = (3, 8, 18, 'final', 0)"))

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "set-up: Python 3.8 is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"
    ]


def test_a_python_without_venv_is_told_how_to_get_it(tmp_path):
    copy = copied(tmp_path)

    done = run(pretending("sys.modules['ensurepip'] = None").replace(str(SETUP), str(copy)))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "apt install python3-venv" in done.stderr


def test_a_machine_without_a_package_index_is_told_so(tmp_path):
    copy = copied(tmp_path)
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
        timeout=120,
        check=False,
        env={**os.environ, **nowhere},
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("set-up: cannot reach the package index")
    assert "Traceback" not in done.stderr


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

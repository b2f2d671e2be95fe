"""A user's own packages: what is wrong with them is one line, and nothing is changed."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT, patient

UV = """#!{python}
import sys
said = {said!r}
if said:
    print(said)
    sys.exit(1)
open(sys.argv[sys.argv.index("--output-file") + 1], "w").write("pillow==1 --hash=sha256:0\\n")
"""


@pytest.fixture
def copy(tmp_path):
    """A checkout whose .venv works, with a stand-in for uv and one for the rest of the set-up."""
    for folder in ("tools", "requirements"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "requirements" / "extra.txt").write_text("before")
    return tmp_path


def run(copy, said):
    uv = copy / ".venv" / "bin" / "uv"
    uv.write_text(UV.format(python=sys.executable, said=said))
    uv.chmod(0o755)
    code = (
        "import sys; sys.path.insert(0, 'tools'); import setup, packages; "
        "setup.main = lambda argv: print(argv); packages.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
        env={**os.environ},
    )


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            """  × No solution found when resolving dependencies:
  ╰─▶ Because xyzzy was not found in the package registry and you require xyzzy, we can …""",
            "there is no package 'xyzzy' in the package index",
        ),
        (
            """  × No solution found when resolving dependencies:
  ╰─▶ Because you require celery<5 and celery==5.7.0, we can conclude that …""",
            "Because you require celery<5 and celery==5.7.0",
        ),
        ("error: Couldn't parse requirement in `extra.in` at position 0", "Couldn't parse"),
        ("error: Failed to fetch: `https://index/simple/x/`", "cannot reach the package index"),
    ],
)
def test_what_cannot_be_installed_is_one_line_and_changes_nothing(copy, said, line):
    done = run(copy, said)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr
    assert (copy / "requirements" / "extra.txt").read_text() == "before"


def test_what_can_be_installed_is_pinned_and_installed(copy):
    done = run(copy, "")

    assert done.returncode == 0, done.stderr
    assert "--hash=sha256:" in (copy / "requirements" / "extra.txt").read_text()
    assert done.stdout == "['setup.py', 'local']\n"


def test_the_users_packages_are_installed_with_those_of_the_lock_file(copy):
    code = (
        "import sys; sys.path.insert(0, 'tools'); import setup; "
        "setup.pip = lambda *words: print(words); before = setup.marker(setup.DEV); "
        "setup.install(setup.DEV, before); open(setup.EXTRA, 'w').close(); "
        "assert setup.marker(setup.DEV) != before; setup.install(setup.DEV, '')"
    ).replace("setup.DEV", "'requirements/local.txt'")

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    first, _, second, _ = done.stdout.splitlines()
    assert "extra.txt" in first
    assert "extra.txt" not in second


def test_the_file_of_the_repository_names_no_package():
    lines = (ROOT / "requirements" / "extra.in").read_text().splitlines()

    assert all(line.startswith("#") for line in lines)
    assert (ROOT / "requirements" / "extra.txt").read_text() == ""

"""docs/libraries.md: each recipe runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "libraries.md").read_text()
SECTIONS = {
    part.partition("\n")[0]: re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    for part in PAGE.split("\n## ")[1:]
}
NEEDS = {"numpy and pandas": ["numpy", "pandas"], "dask": ["dask", "numpy"]}


def run(text, stack, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        text.replace("from work import", "from tests.integration.library_work import")
    )
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_module_of_the_recipes_is_the_one_that_is_tested():
    shown = re.search(r"`work.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)[1]
    tested = (ROOT / "tests" / "integration" / "library_work.py").read_text()

    assert shown in tested


@pytest.mark.parametrize("section", SECTIONS)
def test_a_recipe_runs_as_it_stands_in_the_documentation(stack, section, tmp_path):
    for library in NEEDS.get(section, [section]):
        pytest.importorskip(library)
    assert SECTIONS[section]

    for recipe in SECTIONS[section]:
        done = run(recipe, stack, tmp_path)

        assert done.returncode == 0, done.stderr


def test_a_library_that_is_not_allowed_is_named_in_the_refusal(stack, tmp_path, monkeypatch):
    joblib = pytest.importorskip("joblib")
    monkeypatch.setenv("TASK_MODULES", "tests.integration")

    done = run(SECTIONS["joblib"][0], stack, tmp_path)

    assert joblib
    assert done.returncode == 1
    assert "add 'joblib' there, for the producer and for the workers" in done.stderr

"""Which modules a worker imports at its start, and what becomes of one that fails."""

import logging
import sys
import textwrap

import pytest

from shared.app import app
from worker import celery, registration  # noqa: F401 - as a worker has them

TASKS = """
from celery import shared_task

@shared_task
def {name}(x):
    "Help."
    return x
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the path; what is imported from it is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules, tasks = set(sys.modules), dict(app.tasks)
    monkeypatch.setattr(registration, "imported", [])
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    app.tasks.clear()
    app.tasks.update(tasks)
    app.set_current()


def write(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(textwrap.dedent(text))


def names():
    return {contract.name for contract in registration.tasks()}


def test_modules_of_tasks_are_imported_wherever_they_are_in_a_package(folder, allow):
    write(folder / "one_module.py", TASKS.format(name="first"))
    write(folder / "a_package/__init__.py", "")
    write(folder / "a_package/deep/tasks.py", TASKS.format(name="second"))
    write(folder / "a_package/with-hyphen.py", "raise SystemExit('imported')")
    allow("one_module,a_package")

    registration.import_all()

    assert {"one_module.first", "a_package.deep.tasks.second"} <= names()


@pytest.mark.parametrize(
    "script",
    [
        "print('ran')\nraise SystemExit('ran')",
        "for _ in range(3):\n    raise SystemExit('ran')",
        "raise_ = exit\nif __name__ == '__main__':\n    pass\nraise_('ran')",
    ],
)
def test_a_script_without_tasks_is_not_run(folder, allow, script, caplog):
    write(folder / "a_package/__init__.py", "")
    write(folder / "a_package/inside.py", script)
    write(folder / "a_script.py", script)
    allow("a_script,a_package")

    registration.import_all()

    assert caplog.text == ""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise ValueError('several\\nlines')", "ValueError: several lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        (TASKS.format(name="lost") + "\n1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_module_that_fails_is_one_line_and_does_not_stop_the_others(
    folder, allow, caplog, source, says
):
    write(folder / "failing.py", source)
    write(folder / "working.py", TASKS.format(name="kept"))
    allow("failing,not_there,working")

    registration.import_all()

    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(lines) == 2
    assert "failing cannot be imported" in lines[0]
    assert says in lines[0]
    assert "\n" not in lines[0]
    assert "'not_there'" in lines[1]
    assert "working.kept" in names()


CLASS = """
from celery import Task
from shared.app import app

class Mine(Task):
    name = "sleep"

    def run(self):
        return "mine"

app.register_task(Mine())
"""


@pytest.mark.filterwarnings("ignore:Task name 'sleep' is already registered")
def test_a_name_that_is_taken_stays_with_its_first_task(folder, allow, caplog):
    write(folder / "thief.py", CLASS)
    before = app.tasks["sleep"]
    allow("thief")

    registration.import_all()

    assert app.tasks["sleep"] is before
    assert "the name of its task 'sleep' is taken" in caplog.text


def test_an_application_of_a_modules_own_is_told_and_does_not_become_everybodys(
    folder, allow, caplog
):
    write(
        folder / "own_application.py",
        """
        from celery import Celery

        mine = Celery("mine")

        @mine.task
        def add(x, y):
            return x + y
        """,
    )
    write(folder / "working.py", TASKS.format(name="kept"))
    allow("own_application,working")

    registration.import_all()

    assert "own Celery application 'mine'" in caplog.text
    assert "shared_task" in caplog.text
    assert "working.kept" in names()
    assert "own_application.add" not in names()

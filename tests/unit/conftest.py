"""What the unit tests share: a known environment, and no process and no connection."""

import os
import sys

import pytest

from shared.calls import references
from shared.settings import Settings, current
from tests.conftest import configure

FORBIDDEN = {
    *("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
    *("socket.bind", "socket.connect"),
}
_inside = []

TASK_MODULES = "examples,tests.unit.shapes"


def only_task_modules(patch):
    for name in Settings.model_fields:
        patch.delenv(name.upper(), raising=False)
    patch.setenv("TASK_MODULES", TASK_MODULES)


@pytest.fixture(autouse=True, scope="module")
def application():
    """The application knows no Redis of tests that ran in this process before."""
    with pytest.MonkeyPatch.context() as patch:
        only_task_modules(patch)
        forget()
        configure()
        yield
    forget()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Only ``TASK_MODULES`` is set; changes made through `monkeypatch` end with the test."""
    only_task_modules(monkeypatch)
    forget()
    yield os.environ
    forget()


def _refuse(event, _):
    if _inside and event in FORBIDDEN:
        raise AssertionError(f"a unit test starts nothing: {event}; move it to tests/tools")


# There is no way to take an audit hook off again: it looks only while a unit test runs.
sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def nothing_started():
    """A process, or a connection, is an error in every unit test."""
    _inside.append(True)
    yield
    _inside.pop()


@pytest.fixture
def allow(monkeypatch):
    """Have other modules on the allow-list."""

    def allow(modules):
        monkeypatch.setenv("TASK_MODULES", modules)
        forget()

    return allow


def forget():
    """Forget all that was read from the environment before."""
    current.cache_clear()
    for function in vars(references).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()

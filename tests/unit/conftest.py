"""What the unit tests share: a known environment, whatever ran before them."""

import os

import pytest
from hypothesis import settings as hypothesis_settings

from shared.calls import references
from shared.settings import Settings, current

# What decides is how many examples, not how busy the machine is.
hypothesis_settings.register_profile("unit", deadline=None, max_examples=100)
hypothesis_settings.load_profile("unit")

TASK_MODULES = "examples,tests.unit.shapes"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Only ``TASK_MODULES`` is set; changes made through `monkeypatch` end with the test."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("TASK_MODULES", TASK_MODULES)
    forget()
    yield os.environ
    forget()


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

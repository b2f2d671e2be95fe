"""One stack of local processes for all integration tests."""

import os

import pytest

from producer.stack import Stack, StackFailed
from shared import settings, store
from shared.app import app, configuration
from tests.conftest import unavailable

TASK_MODULES = "examples,tests.integration"


@pytest.fixture(scope="session")
def stack():
    """A running stack, and the environment that leads to it."""
    os.environ["TASK_MODULES"] = TASK_MODULES
    try:
        running = Stack(with_flower=False).__enter__()
    except StackFailed as error:
        unavailable(f"the stack does not start: {error}")
    os.environ.update(running.variables)
    forget_settings()
    yield running
    running.stop()


def forget_settings():
    settings.current.cache_clear()
    store.store.cache_clear()
    # Whoever used the application before saw another Redis.
    app.conf.update(configuration())
    app._after_fork()
    app.control._after_fork()

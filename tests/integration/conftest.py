"""One stack of local processes for all integration tests."""

import os

import pytest

from tests.conftest import forget_settings
from tests.support import local_stack

TASK_MODULES = "examples,tests.integration,scipy,emcee,dask,toolz,joblib,tqdm"


@pytest.fixture(scope="session")
def stack():
    """A running stack, and the environment that leads to it."""
    os.environ["TASK_MODULES"] = TASK_MODULES
    running = local_stack(with_flower=False).__enter__()
    # One variable, for the many tests that set it to another Redis.
    os.environ.update(running.variables, REDIS_URL=running.redis_url, REDIS_PASSWORD_FILE="")
    forget_settings()
    yield running
    running.stop()

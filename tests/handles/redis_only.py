"""A Redis of its own for a test module; no workers, no stack."""

import os

import pytest

from shared import settings
from shared.broker import connections
from shared.handles.leases import keeper
from tests.support import RedisServer, leased


def with_environment(variables):
    """Set variables, forget what was read; what was there before."""
    before = {name: os.environ.get(name) for name in variables}
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    settings.current.cache_clear()
    connections.store.cache_clear()
    keeper._rouse()
    return before


@pytest.fixture(scope="module")
def redis_only():
    """An empty server, to which this process and its children connect."""
    server = RedisServer()
    before = with_environment(
        {
            "REDIS_URL": server.url,
            "HANDLE_LEASE_S": None,
            "LOCK_LEASE_S": None,
            "TASK_MODULES": "tests",
        }
    )
    yield server
    with_environment(before)
    server.close()


@pytest.fixture
def short_leases(redis_only):
    """Handles that last two seconds unused, holds that last one; longer where it is busy."""
    before = with_environment({"HANDLE_LEASE_S": str(leased(2)), "LOCK_LEASE_S": str(leased(1))})
    yield redis_only
    with_environment(before)

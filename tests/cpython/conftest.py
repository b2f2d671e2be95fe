"""Workers that may run what CPython's own tests send."""

import os

import pytest

from shared import settings
from tests.conftest import forget_settings
from tests.support import local_stack

MODULES = "test,tests.cpython,builtins,operator,sys,time"


@pytest.fixture(scope="module")
def workers():
    """A stack of their own, and the environment that leads to it."""
    before = dict(os.environ)
    os.environ["TASK_MODULES"] = MODULES
    settings.current.cache_clear()
    try:
        with local_stack(with_flower=False) as stack:
            os.environ.update(stack.variables, REDIS_URL=stack.redis_url, REDIS_PASSWORD_FILE="")
            forget_settings()
            yield
            # Before the server ends: threads of this process still look there.
            _restore(before)
    finally:
        _restore(before)


def _restore(environment):
    os.environ.clear()
    os.environ.update(environment)
    forget_settings()

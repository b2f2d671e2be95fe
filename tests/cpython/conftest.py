"""Workers that may run what CPython's own tests send."""

import os

import pytest

from producer.stack import Stack, StackFailed
from shared import settings
from tests.conftest import forget_settings
from tests.support import unavailable

MODULES = "test,tests.cpython,builtins,operator,sys,time"


@pytest.fixture(scope="module")
def workers():
    """A stack of their own, and the environment that leads to it."""
    before = dict(os.environ)
    os.environ["TASK_MODULES"] = MODULES
    settings.current.cache_clear()
    try:
        with Stack(with_flower=False) as stack:
            os.environ.update(stack.variables)
            forget_settings()
            yield
    except StackFailed as error:
        unavailable(f"the stack does not start: {error}")
    finally:
        os.environ.clear()
        os.environ.update(before)
        forget_settings()

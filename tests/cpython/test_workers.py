"""CPython's own tests of pools and processes, on real workers; see `tests.cpython.adapter`."""

import os

import pytest

pytest.importorskip(
    "test._test_multiprocessing",
    reason="this interpreter comes without its own tests (Debian: libpython3-testsuite)",
    exc_type=ImportError,
)

from producer.stack import Stack, StackFailed
from shared import settings, store
from shared.app import app, configuration
from tests.conftest import unavailable
from tests.cpython import adapter

globals().update(adapter.remote_classes(__name__))

MODULES = "test,tests.cpython,builtins,operator,sys,time"


@pytest.fixture(scope="module", autouse=True)
def _workers():
    before = dict(os.environ)
    os.environ["TASK_MODULES"] = MODULES
    settings.current.cache_clear()
    try:
        with Stack(with_flower=False) as stack:
            os.environ.update(stack.variables)
            _forget_settings()
            yield
    except StackFailed as error:
        unavailable(f"the stack does not start: {error}")
    finally:
        os.environ.clear()
        os.environ.update(before)
        _forget_settings()


def _forget_settings():
    settings.current.cache_clear()
    store.store.cache_clear()
    app.conf.update(configuration())
    app._after_fork()
    app.control._after_fork()

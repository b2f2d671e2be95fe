"""CPython's own tests, run against this library; see `tests.cpython.adapter`."""

import pytest

pytest.importorskip(
    "test._test_multiprocessing",
    reason="this interpreter comes without its own tests (Debian: libpython3-testsuite)",
    exc_type=ImportError,
)

from tests.cpython import adapter
from tests.handles.redis_only import redis_only

globals().update(adapter.test_classes())


@pytest.fixture(scope="module", autouse=True)
def _server(redis_only):
    """Every test needs it."""


__all__ = ["redis_only"]

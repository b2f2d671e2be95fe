"""CPython's own tests of pools and processes, on real workers; see `tests.cpython.adapter`."""

import pytest

pytest.importorskip(
    "test._test_multiprocessing",
    reason="this interpreter comes without its own tests (Debian: libpython3-testsuite)",
    exc_type=ImportError,
)

from tests.cpython import adapter

pytestmark = pytest.mark.usefixtures("workers")
globals().update(adapter.remote_classes(__name__))

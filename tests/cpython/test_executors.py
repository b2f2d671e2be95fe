"""CPython's own tests of executors, on real workers."""

import unittest
from importlib import import_module

import pytest

pytest.importorskip(
    "test.test_concurrent_futures.executor",
    reason="this interpreter comes without these tests (they are a package from Python 3.12 on)",
    exc_type=ImportError,
)

from shared import futures
from tests.cpython.adapter import Limited, exclude

pytestmark = pytest.mark.usefixtures("workers")

BASES = {
    "executor": "ExecutorTest",
    "test_wait": "WaitTests",
    "test_as_completed": "AsCompletedTests",
    "test_shutdown": "ExecutorShutdownTest",
}
EXECUTORS = {"Processes": futures.ProcessPoolExecutor, "Threads": futures.ThreadPoolExecutor}


class Mixin(Limited):
    """What CPython's own mixin gives the tests."""

    worker_count = 5

    def setUp(self):
        super().setUp()
        self.executor = self.executor_type(max_workers=self.worker_count)

    def tearDown(self):
        self.executor.shutdown(wait=True)
        self.executor = None
        super().tearDown()


def _classes():
    for module, base in BASES.items():
        tests = getattr(import_module(f"test.test_concurrent_futures.{module}"), base)
        for kind, executor in EXECUTORS.items():
            name = f"With{kind}{base}"
            yield name, type(name, (Mixin, tests, unittest.TestCase), {"executor_type": executor})


found = dict(_classes())
exclude(found, __name__)
globals().update(found)

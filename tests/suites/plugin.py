"""What pytest loads for the suites (``-p tests.suites.plugin``): our parts, or Celery's own.

``SUITE_SIDE`` names the side. Each test's outcome goes to the file ``SUITE_OUTCOMES``.
"""

import json
import os

import pytest

OURS = os.environ["SUITE_SIDE"] == "ours"
OUR_APPLICATION = {
    "amqp": "shared.app:Messages",
    "task_cls": "shared.publishing:Task",
    "events": "shared.broker.events:Events",
}
_outcomes = {}


def pytest_configure(config):
    for marker in ("env", "flaky", "timeout"):
        config.addinivalue_line("markers", f"{marker}: of a plugin that is not installed")
    if OURS:
        from kombu import transport

        import shared.app  # noqa: F401 - whole, before a part of it is asked for by name

        ours = "shared.broker.transport:Transport"
        transport.TRANSPORT_ALIASES.update(redis=ours, rediss=ours)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    value = yield
    if OURS and fixturedef.argname == "celery_parameters":
        # Celery's own way to make the application of its tests.
        value = {**value, **OUR_APPLICATION}
        fixturedef.cached_result = (value, *fixturedef.cached_result[1:])
    return value


def pytest_runtest_logreport(report):
    ends = report.when == "call" or report.outcome != "passed"
    if ends and _outcomes.get(report.nodeid) != "failed":
        _outcomes[report.nodeid] = report.outcome


def pytest_collectreport(report):
    if report.failed:
        _outcomes[report.nodeid] = "failed"


def pytest_sessionfinish():
    with open(os.environ["SUITE_OUTCOMES"], "w", encoding="utf-8") as file:
        json.dump(_outcomes, file, indent=1)

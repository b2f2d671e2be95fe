"""What a worker makes of what a pool tells it of a task."""

import types

import pytest
from billiard.exceptions import WorkerLostError
from celery.app.task import Context
from celery.concurrency.base import apply_target
from kombu.message import Message

from shared.app import app
from shared.calls import encoding
from worker import requests
from worker.requests import Request


@pytest.fixture
def request_and_told():
    """A request as Celery makes one for each task, and what it was told."""
    told = []

    class OfATask(Request):
        def on_success(self, ended):
            told.append(ended)

        def on_failure(self, info):
            told.append(info.exception.exc)

    return OfATask.__new__(OfATask), told


def test_a_task_that_exits_is_a_lost_worker(request_and_told):
    request, told = request_and_told

    apply_target(exit, (3,), callback=request.on_success)

    assert [type(error) for error in told] == [WorkerLostError]


def test_a_task_that_ends_is_told_as_it_ended(request_and_told):
    request, told = request_and_told

    apply_target(divmod, (7, 2), callback=request.on_success)

    assert told == [(3, 1)]


@pytest.mark.parametrize(("name", "kept"), [(encoding.NAME, []), ("sleep", ["an id"])])
def test_what_took_too_long_is_kept_unless_a_caller_was_told(monkeypatch, name, kept):
    request, found = Request.__new__(Request), []
    monkeypatch.setattr(requests, "_keep", lambda task_id, *_: found.append(task_id))
    request._task = types.SimpleNamespace(name=name)
    request._message = types.SimpleNamespace(delivery_tag="taken:here#1")
    request._hostname, request.id, request.name = "here", "an id", "module.function"

    request._keep_overdue(1.0)

    assert found == kept


@pytest.mark.parametrize("custom", [{}, {"tenant": "a", "sent_at": 1.0}])
def test_a_task_sees_the_headers_that_celery_would_show_it(custom):
    headers = {"id": "an id", "task": "sleep", "lang": "py", "argsrepr": "()", **custom}
    message = Message(
        body="[[], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        headers=headers,
        delivery_info={},
        properties={},
    )

    seen = Context(Request(message, app=app, task=app.tasks["sleep"])._request_dict).headers

    assert seen == custom
    assert seen == (Context(headers).headers or {})

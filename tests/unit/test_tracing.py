"""Calls run by their own tracer, which leaves to Celery's what is Celery's."""

import logging
import signal

import pytest
from celery import current_task, signals
from celery.app import trace

from shared.app import app
from shared.calls import encoding, running
from worker import tracing


@pytest.fixture
def task(monkeypatch):
    """The task `call`, which answers nobody; its tracer, and what Celery's was asked."""
    task = app.tasks[encoding.NAME]
    celerys = trace.build_tracer(task.name, task, app.loader, "here", app=app)
    monkeypatch.setattr(running.references, "is_allowed", lambda *_: True)
    monkeypatch.setattr(running.outbox, "answer", lambda *_, **__: None)
    asked = []
    task.lean = tracing.lean(task, lambda *args: asked.append(args) or celerys(*args))
    task.asked = asked
    yield task
    del task.lean, task.asked


def run(task, function, *args, **request):
    return run_chunk(task, function, encoding.Mode.APPLY, [(args, {})], **request)


def run_chunk(task, function, mode, items, **request):
    _, payload = encoding.encode_call(function, mode, items)
    given = (payload, "replies:nobody", {})
    request = {
        "id": "an id",
        "args": given,
        "kwargs": {},
        "ignore_result": True,
        "delivery_info": {"routing_key": "threads"},
        "properties": {"delivery_tag": "taken:here#1"},
        **request,
    }
    return task.lean("an id", given, {}, request)


def test_a_call_gives_what_celerys_tracer_gives(task):
    ended = run(task, divmod_seven, 3)

    assert (ended.retval, ended.info, ended.retstr) == ((2, 1), None, "(2, 1)")
    assert ended.runtime >= 0
    assert not task.asked
    assert task.request_stack.top is None


def test_of_a_chunk_people_see_the_first_value_and_the_last(task):
    ended = run_chunk(task, divmod_seven, encoding.Mode.MAP, range(1, 7_001))

    assert ended.retstr == "'7000 values: (7, 0) … (0, 7)'"


def test_a_call_that_fails_is_celerys_and_runs_once(task):
    failed = []
    signals.task_failure.connect(
        lambda exception, **_: failed.append(exception), weak=False, dispatch_uid="test_tracing"
    )
    before = len(runs)
    try:
        ended = run(task, fail_once)
    finally:
        signals.task_failure.disconnect(dispatch_uid="test_tracing")

    assert ended.info.state == "FAILURE"
    assert [repr(error) for error in failed] == ["KeyError('no')"]
    assert len(runs) == before + 1
    assert len(task.asked) == 1
    assert running.RAISED not in task.asked[0][3]


@pytest.mark.parametrize(
    "more", [{"callbacks": [{"task": "x"}]}, {"chord": {"task": "x"}}, {"ignore_result": False}]
)
def test_what_celery_does_more_for_is_left_to_it(task, more, monkeypatch):
    given = []
    lean = tracing.lean(task, lambda *args: given.append(args))
    monkeypatch.setattr(task, "lean", lean)

    run(task, divmod_seven, 3, **more)

    assert len(given) == 1


def test_a_name_in_the_message_raises_nothing_and_runs_nothing_twice(task):
    ended = run(task, divmod_seven, 3, **{running.RAISED: "a string from outside"})

    assert ended.retval == (2, 1)
    assert not task.asked


def test_signals_and_the_log_say_that_it_ended(task, caplog, monkeypatch):
    monkeypatch.setattr(trace.logger, "level", logging.INFO)
    caplog.set_level(logging.INFO, trace.logger.name)
    heard = []
    hear = lambda signal, **_: heard.append(signal)  # noqa: E731
    ended = (signals.task_success, signals.task_postrun)
    for one in ended:
        one.connect(hear, weak=False, dispatch_uid="test_tracing")
    celerys = trace.build_tracer(task.name, task, app.loader, "here", app=app)
    monkeypatch.setattr(task, "lean", tracing.lean(task, celerys))
    try:
        run(task, divmod_seven, 3, shadow="a name", argsrepr="(3,)")
    finally:
        for one in ended:
            one.disconnect(dispatch_uid="test_tracing")

    assert heard == list(ended)
    assert "Task a name[an id] succeeded" in caplog.text


def test_a_call_that_is_ended_from_outside_is_told_of_as_celery_does(task):
    heard = []
    signals.task_postrun.connect(
        lambda state, **_: heard.append(state), weak=False, dispatch_uid="test_tracing"
    )
    try:
        with pytest.raises(SystemExit):
            run(task, end_as_if_terminated)
    finally:
        signals.task_postrun.disconnect(dispatch_uid="test_tracing")

    assert heard == [None]
    assert task.request_stack.top is None


def test_a_call_sees_the_headers_of_its_message(task):
    assert run(task, own_headers, tenant="a").retval["tenant"] == "a"


runs = []


def own_headers():
    return current_task.request.headers


def end_as_if_terminated():
    raise SystemExit(-256 + signal.SIGTERM)


def divmod_seven(by):
    return divmod(7, by)


def fail_once():
    runs.append(1)
    raise KeyError("no")

"""Events of tasks are made only while somebody listens."""

import pytest

from shared.app import app
from shared.broker import events
from shared.broker.events import listeners


class Recorder:
    """A producer that notes what it was to publish."""

    def __init__(self):
        self.sent = []

    def publish(self, event, **_):
        self.sent.append(event["type"])


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr(listeners, "_were_there", True)
    monkeypatch.setattr(listeners, "_noted_at", 0.0)
    return Recorder()


@pytest.fixture
def dispatcher(recorder):
    made = app.events.Dispatcher(app.connection_for_write(), hostname="w", enabled=False)
    made.enabled = True
    made.producer = recorder
    return made


def test_the_application_has_this_dispatcher(dispatcher):
    assert isinstance(dispatcher, events.Dispatcher)


def test_events_go_out_as_long_as_nothing_is_known_against_it(dispatcher, recorder):
    dispatcher.send("task-received", uuid="1")

    assert recorder.sent == ["task-received"]


def test_when_nobody_received_the_last_event_tasks_make_none_and_workers_do(dispatcher, recorder):
    listeners.note(0)

    dispatcher.send("task-received", uuid="1")
    dispatcher.send("worker-heartbeat")

    assert recorder.sent == ["worker-heartbeat"]


def test_when_a_heartbeat_is_received_tasks_make_events_again(dispatcher, recorder):
    listeners.note(0)
    listeners.note(1)

    dispatcher.send("task-succeeded", uuid="1")

    assert recorder.sent == ["task-succeeded"]


def test_after_a_while_a_task_asks_again(dispatcher, recorder, monkeypatch):
    listeners.note(0)
    monkeypatch.setattr(listeners, "_noted_at", listeners._noted_at - 2 * events.ASK_AGAIN_S)

    dispatcher.send("task-received", uuid="1")

    assert recorder.sent == ["task-received"]

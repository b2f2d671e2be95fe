"""Messages made in bulk are those that Celery itself would have put on the queue."""

import base64
import contextlib
import json
import types
import uuid

import msgpack
import pytest
import redis
from celery import signals
from celery.app.backends import by_url
from kombu import Connection
from kombu.exceptions import OperationalError

import shared.broker.connections
from shared import publishing
from shared.app import app
from shared.broker import keys
from shared.calls import running
from shared.errors import BrokerUnavailable
from shared.pools import PoolKind
from shared.tasks import CONTRACTS
from worker import tasks

# What is different in each message, or names the process that sent it.
IDS = ("id", "root_id", "origin")


@contextlib.contextmanager
def memory_broker():
    with Connection("memory://", transport_options={"polling_interval": 0}) as connection:
        yield connection
        connection.default_channel.queues.clear()


def sent_by_celery(task, args, kwargs, queue, **options):
    """The message that `apply_async` puts on the list, as kombu's transports hold it."""
    with memory_broker() as connection:
        task_id = str(uuid.uuid4())
        task.apply_async(
            args,
            kwargs,
            task_id=task_id,
            queue=queue,
            connection=connection,
            ignore_result=True,
            **options,
        )
        message = connection.default_channel._get(queue)
    assert message["headers"]["id"] == task_id
    return json.loads(json.dumps(message))


def rendered(task, args, kwargs, queue, **options):
    more = {name: options.pop(name) for name in ("argsrepr", "kwargsrepr") if name in options}
    template = publishing.Template(task.name, queue, ignore_result=True, **options)
    return json.loads(template.render(str(uuid.uuid4()), args, kwargs, **more))


def without_ids(message):
    message = json.loads(json.dumps(message))
    for name in IDS:
        message["headers"].pop(name)
    for name in ("correlation_id", "delivery_tag", "reply_to"):
        message["properties"].pop(name)
    for name in ("expiration", "argsrepr", "kwargsrepr"):
        message["properties"].pop(name, None)  # nothing looks at it there
    if message["content-type"] == "application/json":
        message["body"] = json.loads(base64.b64decode(message["body"]))
    else:
        message["body"] = msgpack.unpackb(base64.b64decode(message["body"]))
    return message


CASES = {
    "plain": (tasks.printcount, (3,), {}, {}),
    "keywords": (tasks.count_steps, (), {"label": "é", "steps": 2}, {}),
    "no arguments": (tasks.fetch, (), {}, {}),
    "countdown": (tasks.sleep, (0.5,), {}, {"countdown": 60}),
    "expires": (tasks.sleep, (0.5,), {}, {"expires": 60}),
    "shadow": (tasks.sleep, (0.5,), {}, {"shadow": "examples.f"}),
    "limits": (tasks.sleep, (0.5,), {}, {"time_limit": 9, "soft_time_limit": 5}),
    "bytes": (
        running.call,
        (b"\x00\xff", "replies:1", {}),
        {},
        {"serializer": "msgpack", "argsrepr": "(…)", "kwargsrepr": "{}"},
    ),
    "long arguments": (tasks.fail, ("x" * 5000,), {}, {}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("queue", [kind.value for kind in PoolKind])
def test_a_rendered_message_is_what_apply_async_would_have_sent(case, queue):
    task, args, kwargs, options = CASES[case]

    theirs = without_ids(sent_by_celery(task, args, kwargs, queue, **options))
    ours = without_ids(rendered(task, args, kwargs, queue, **options))

    for moment in ("eta", "expires", "sent_at"):  # of two calls, one after the other
        assert bool(theirs["headers"][moment]) is bool(ours["headers"][moment])
        del theirs["headers"][moment], ours["headers"][moment]
    assert ours == theirs


def test_what_differs_from_task_to_task_is_filled_in():
    template = publishing.Template("sleep", "threads")
    ids = [str(uuid.uuid4()) for _ in range(2)]

    one, other = (json.loads(template.render(task_id, [n], {})) for n, task_id in enumerate(ids))

    assert [one["headers"]["id"], other["headers"]["id"]] == ids
    assert [one["headers"]["root_id"], other["headers"]["root_id"]] == ids
    assert [one["properties"]["correlation_id"], other["properties"]["correlation_id"]] == ids
    assert one["properties"]["delivery_tag"] != other["properties"]["delivery_tag"]
    assert json.loads(base64.b64decode(one["body"]))[0] == [0]
    assert json.loads(base64.b64decode(other["body"]))[0] == [1]


def test_the_texts_for_people_can_be_given():
    template = publishing.Template("sleep", "threads")

    message = json.loads(
        template.render("id", [1], {}, shadow="mine.f", argsrepr="(…)", kwargsrepr="{…}")
    )

    assert message["headers"]["shadow"] == "mine.f"
    assert message["headers"]["argsrepr"] == "(…)"
    assert message["headers"]["kwargsrepr"] == "{…}"


@pytest.mark.parametrize("text", ["100 %", "%(body)s %s", '"', "\\", "\n", "进程", "\ud800"])
def test_any_text_can_be_filled_in(text):
    template = publishing.Template("sleep", "threads", shadow=text)

    message = json.loads(template.render(text, [text.encode("ascii", "replace").decode()], {}))
    given = json.loads(template.render("id", [], {}, shadow=text, argsrepr=text, kwargsrepr=text))

    assert message["headers"]["id"] == message["properties"]["correlation_id"] == text
    assert message["headers"]["shadow"] == text
    assert [given["headers"][key] for key in ("shadow", "argsrepr", "kwargsrepr")] == [text] * 3


def test_an_id_is_a_random_uuid():
    ids = {keys.new_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    for text in ids:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_nothing_is_asked_of_redis_to_prepare_or_push_no_message(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    publishing.store.cache_clear()

    pushed = publishing.push("threads", [])

    publishing.store.cache_clear()
    assert pushed == 0


def test_every_queue_of_the_application_is_a_pools():
    assert {queue.name for queue in app.conf.task_queues} == {kind.value for kind in PoolKind}


class Lists:
    """Stands in for Redis."""

    def __init__(self, error=None):
        self.pushed, self.error, self.asked = [], error, 0

    def ask(self, client, command, *pushed):
        self.asked += 1
        if self.error:
            raise self.error
        assert command == "EVALSHA"
        _, _, queue, _, _, message, _ = pushed
        self.pushed.append((queue, message))


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch):
    """A worker's modules, which other tests import, listen to what is published."""
    for signal in publishing._SIGNALS:
        monkeypatch.setattr(signal, "receivers", [])


@pytest.fixture
def lists(monkeypatch):
    lists = Lists()
    monkeypatch.setattr(shared.broker.connections, "ask", lists.ask)
    return lists


@pytest.fixture
def long_way(monkeypatch):
    calls = []
    monkeypatch.setattr(
        publishing.celery.Task,
        "apply_async",
        lambda *args, **options: calls.append((args, options)),
    )
    return calls


@pytest.mark.parametrize("case", ["plain", "keywords", "no arguments", "long arguments"])
@pytest.mark.parametrize("queue", [kind.value for kind in PoolKind])
def test_the_short_way_sends_what_celery_would_have_sent(lists, case, queue):
    task, args, kwargs, _ = CASES[case]

    result = task.apply_async(args, kwargs, queue=queue, ignore_result=True)

    ((key, text),) = lists.pushed
    ours, theirs = json.loads(text), sent_by_celery(task, args, kwargs, queue)
    assert key == queue
    assert ours["headers"]["id"] == result.id
    assert result.ignored
    for message in ours, theirs:
        assert message["headers"].pop("sent_at")
    assert without_ids(ours) == without_ids(theirs)


def test_without_a_queue_the_routes_are_asked_and_results_are_kept(lists):
    result = tasks.sleep.delay(0)

    ((key, text),) = lists.pushed
    assert key == CONTRACTS["sleep"].queue
    assert not json.loads(text)["headers"]["ignore_result"]
    assert not result.ignored


@pytest.mark.parametrize(
    "options",
    [
        {"countdown": 1},
        {"priority": 3},
        {"link": tasks.sleep.si(0)},
        {"headers": {"mine": 1}},
        {"queue": app.amqp.queues["threads"]},
        {"time_limit": 3},
    ],
)
def test_what_asks_for_more_goes_celerys_way(lists, long_way, options):
    tasks.sleep.apply_async((0,), **options)

    assert len(long_way) == 1
    assert not lists.pushed


def test_signals_eager_mode_and_tasks_that_send_go_celerys_way(lists, long_way, monkeypatch):
    def receiver(**_):
        pass

    signals.before_task_publish.connect(receiver)
    tasks.sleep.delay(0)
    signals.before_task_publish.disconnect(receiver)
    assert len(long_way) == 1

    app.conf.task_always_eager = True
    tasks.sleep.delay(0)
    app.conf.task_always_eager = False
    assert len(long_way) == 2

    monkeypatch.setattr(publishing, "get_current_worker_task", lambda: tasks.sleep)
    tasks.sleep.delay(0)
    assert len(long_way) == 3
    assert not lists.pushed


@pytest.mark.parametrize("policy", [{"max_retries": 0}, {"max_retries": 2, "interval_start": 0}])
def test_what_redis_did_not_take_is_pushed_as_often_as_celery_has_it(
    lists, long_way, monkeypatch, policy
):
    lists.error = redis.ConnectionError("gone")
    monkeypatch.setitem(app.conf.changes, "task_publish_retry_policy", policy)

    with pytest.raises(OperationalError, match="gone"):
        tasks.sleep.apply_async((0,), task_id="an id")

    assert lists.asked == 1 + policy["max_retries"]
    assert not long_way


@pytest.mark.parametrize("name", ["buried", "owners:names", "dead"])
def test_a_queue_of_the_name_of_another_key_is_left_to_the_transport(name):
    assert tasks.sleep._prepared({"queue": name}) is None


def test_a_soft_limit_above_the_hard_one_is_refused_as_celery_does(lists, monkeypatch):
    monkeypatch.setattr(tasks.sleep, "soft_time_limit", 3)
    monkeypatch.setattr(tasks.sleep, "time_limit", 2)
    tasks.sleep.__dict__.pop("_templates", None)

    with pytest.raises(ValueError, match="soft_time_limit must be less than or equal"):
        tasks.sleep.delay(0)

    assert not lists.pushed


@pytest.mark.parametrize("backend", ["rpc://", "redis://localhost", "disabled://"])
def test_a_result_backend_that_must_know_of_each_call_is_told(
    lists, long_way, monkeypatch, backend
):
    made, _ = by_url(backend, app.loader)
    monkeypatch.setattr(tasks.sleep.__class__, "backend", made(app=app, url=backend))
    tasks.sleep.__dict__.pop("_templates", None)

    tasks.sleep.delay(0)

    assert bool(long_way) == (backend == "rpc://")
    assert bool(lists.pushed) == (backend != "rpc://")


def test_wrong_arguments_are_refused_as_celery_does(lists):
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        tasks.sleep.delay()
    assert not lists.pushed


@pytest.fixture
def away(monkeypatch):
    """A Redis that does not answer; how many times it was asked."""
    asked = []

    def refuse(*_):
        asked.append(1)
        raise redis.ConnectionError("away")

    monkeypatch.setattr(shared.broker.connections, "ask", refuse)
    monkeypatch.setattr(publishing, "store", lambda: types.SimpleNamespace(evalsha=refuse))
    return asked


@pytest.mark.parametrize(("once", "times"), [(False, 2), (True, 1)])
def test_a_push_is_tried_once_where_its_caller_tries_again(away, once, times):
    with pytest.raises(BrokerUnavailable):
        publishing.push("threads", [b"message"], once=once)

    assert len(away) == times

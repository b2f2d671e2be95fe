"""Messages made in bulk are those that Celery itself would have put on the queue."""

import base64
import contextlib
import json
import uuid

import msgpack
import pytest
from kombu import Connection

from shared import calls, publishing
from shared.app import app
from shared.pools import PoolKind
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
        calls.call,
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


def test_nothing_is_asked_of_redis_to_prepare_or_push_no_message(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    publishing.store.cache_clear()

    pushed = publishing.push("threads", [])

    publishing.store.cache_clear()
    assert pushed == 0


def test_every_queue_of_the_application_is_a_pools():
    assert {queue.name for queue in app.conf.task_queues} == {kind.value for kind in PoolKind}

"""A push whose answer is lost is repeated, and counts once, whoever pushes."""

import json
import uuid
from functools import partial

import pytest
import redis

from shared import publishing
from shared.app import app
from shared.broker import deadletters, messages, ownership
from shared.broker.answers import Parser
from shared.broker.connections import store
from shared.broker.recovery import give_back
from shared.multiprocessing import Pool
from tests.conftest import forget_settings
from tests.handles.redis_only import redis_only
from tests.integration import functions as f
from tests.support import wait_until

__all__ = ["redis_only"]
QUEUE = "threads"


@pytest.fixture(autouse=True)
def broker(redis_only):
    forget_settings()
    redis_only.client.delete(QUEUE, "prefork")
    return redis_only.client


@pytest.fixture
def lost(broker, monkeypatch):
    """Have the answer to the first push be lost, with its connection; what was lost."""
    read, answers = Parser.read_response, []

    def lose_one(parser, *args, **options):
        answer = read(parser, *args, **options)
        if not answers and broker.llen(QUEUE):
            answers.append(answer)
            raise redis.ConnectionError("cut")
        return answer

    monkeypatch.setattr(Parser, "read_response", lose_one)
    return answers


@app.task(name="test.pushing")
def task(number=0):
    """Never run."""


def short_way():
    task.apply_async((1,), queue=QUEUE)


def celerys_way():
    task.apply_async((1,), queue=QUEUE, countdown=1)


def by_name():
    app.send_task("test.pushing", (1,), queue=QUEUE)


def with_priority():
    task.apply_async((1,), queue=QUEUE, priority=0, link=task.si())


def push():
    publishing.push(QUEUE, [b"{}"])


def push_once():
    assert publishing.push_once(QUEUE, uuid.uuid4().hex, b"{}", within_s=60)[0]


def pool():
    with Pool(1, kind=QUEUE) as opened:
        opened.apply_async(f.double, (1,))
        wait_until(lambda: store().llen(QUEUE) and not opened._unsent, what="the push")


def retry_of_a_dead_letter():
    letter, text = uuid.uuid4().hex, publishing.Template("test.pushing", QUEUE).render("1", (), {})
    store().hset("taken:nobody", "1", f"{QUEUE}\n{text.decode()}")
    deadletters.bury(store(), messages.tag("nobody", 1), "a test")
    assert deadletters.retry("1") == QUEUE, letter


def give_one_back():
    store().hset(ownership.owner().key, "7", f"{QUEUE}\n{json.dumps({})}")
    give_back(store(), [messages.tag(ownership.owner().name, 7)])


WAYS = (
    short_way,
    celerys_way,
    by_name,
    with_priority,
    push,
    push_once,
    pool,
    retry_of_a_dead_letter,
    give_one_back,
)


@pytest.mark.parametrize("way", WAYS)
def test_it_counts_once(broker, lost, way):
    way()

    assert lost
    assert broker.llen(QUEUE) == 1


@pytest.mark.parametrize("send", [task.apply_async, partial(app.send_task, task.name)])
def test_two_tasks_under_one_id_are_two(broker, send):
    for queue in (QUEUE, QUEUE, "prefork"):
        send((1,), task_id="the same", queue=queue)

    assert broker.llen(QUEUE) == 2
    assert broker.llen("prefork") == 1

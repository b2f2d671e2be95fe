"""A part of a chord that has its outcome, and whose worker was lost before the chord heard of it."""

import json
import uuid

import pytest

from shared.app import app
from shared.broker import keys, messages, recovery
from tests.conftest import forget_settings
from tests.support import RedisServer

OWNER = "gone:1"


@pytest.fixture(scope="module")
def client():
    with RedisServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", server.url)
        forget_settings()
        yield server.client
    forget_settings()


def take(client, task_id, **headers):
    """Have a lost worker hold a task whose outcome is stored."""
    client.flushdb()
    message = {
        "body": "W1tdLCB7fSwge31d",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": task_id, "task": "sleep", **headers},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "x",
            "delivery_info": {"exchange": "", "routing_key": "prefork"},
        },
    }
    client.hset(keys.TAKEN + OWNER, "7", f"prefork\n{json.dumps(message)}")
    client.sadd(keys.BURIED, OWNER)
    client.set(keys.RESULT + task_id, json.dumps({"status": "SUCCESS", "result": 1}))


@pytest.mark.parametrize(
    ("size", "counted", "done", "runs_again"),
    [
        (None, [], None, False),  # a plain group
        (2, [], None, True),  # killed before it was counted
        (2, ["mine"], None, False),  # counted, another part is missing
        (2, ["mine", "other"], None, True),  # the last one: its body may not have been sent
        (2, ["mine", "other"], "done", False),
        (2, ["mine", "other"], "a claim", True),
    ],
)
@pytest.mark.parametrize("index", [0, 3, None])
def test_a_part_runs_again_while_its_chord_waits_for_it(
    client, size, counted, done, runs_again, index
):
    task_id, group = str(uuid.uuid4()), str(uuid.uuid4())
    take(client, task_id, group=group, group_index=index)
    names = {"mine": f"{task_id}:{'+inf' if index is None else index}", "other": "another:1"}
    for name in counted:
        client.sadd(f"{keys.GROUP}{group}.d", names[name])
    if size is not None:
        client.set(f"{keys.GROUP}{group}.s", size)
    if done is not None:
        client.set(f"{keys.GROUP}{group}.c", done)

    recovery.return_all(client, OWNER)

    assert client.llen("prefork") == runs_again
    assert not client.exists(keys.TAKEN + OWNER)


def test_a_task_of_no_group_does_not_run_again(client):
    take(client, str(uuid.uuid4()))

    recovery.return_all(client, OWNER)

    assert client.llen("prefork") == 0


@pytest.mark.parametrize("suffix", [".s", ".t", ".d", ".c"])
def test_the_keys_of_a_chord_are_celerys(suffix):
    assert app.backend.get_key_for_group("one", suffix) == f"{keys.GROUP}one{suffix}".encode()


@pytest.mark.parametrize(
    ("sent_at", "date_done", "runs_again"),
    [
        (1_800_000_000.0, "2020-01-01T00:00:00+00:00", True),  # the id was used again
        (1_800_000_000.0, "2020-01-01T00:00:00", True),  # Celery's time in UTC, without a zone
        (1_500_000_000.0, "2020-01-01T00:00:00+00:00", False),
        (1_500_000_000.0, "no date", False),
        (None, "2020-01-01T00:00:00+00:00", False),  # a plain producer does not say
        ("a word", "2020-01-01T00:00:00+00:00", False),
    ],
)
def test_the_outcome_of_an_earlier_task_with_the_same_id_does_not_count(
    client, sent_at, date_done, runs_again
):
    task_id = str(uuid.uuid4())
    take(client, task_id, **({} if sent_at is None else {messages.SENT_AT: sent_at}))
    meta = {"status": "SUCCESS", "result": 1, "date_done": date_done}
    client.set(keys.RESULT + task_id, json.dumps(meta))

    recovery.return_all(client, OWNER)

    assert client.llen("prefork") == runs_again

"""Recovery puts a message onto a queue, whatever list a record names."""

import json
import uuid

import pytest

from shared.broker import keys, recovery
from tests.conftest import forget_settings
from tests.support import RedisServer

OWNER = "gone:1"
KEY = keys.TAKEN + OWNER
LISTS = {
    "prefork": True,
    "prefork\x06\x163": True,
    "mine": True,
    "": False,
    "evil.pidbox": False,
    f"{uuid.uuid4()}.reply.celery.pidbox": False,
    f"queue:{uuid.uuid4().hex}": False,
    f"lock:{uuid.uuid4().hex}": False,
    "replies:x": False,
    "celery-task-meta-x": False,
    "_kombu.binding.celery": False,
    "unacked": False,
    "dead": False,
    "workers": False,
}
WAYS = {
    "of a lost worker": lambda client, tag: recovery.return_all(client, OWNER),
    "all of an owner": lambda client, tag: recovery.give_all_back(client, OWNER),
    "one, to the front": recovery.return_delivered,
    "one, to the end": recovery.requeue_delivered,
    "one that was not begun": lambda client, tag: recovery.give_back(client, [tag]),
}


@pytest.fixture(scope="module")
def client():
    with RedisServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", server.url)
        forget_settings()
        yield server.client
    forget_settings()


def message():
    return json.dumps(
        {
            "body": "W1tdLCB7fSwge31d",
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"id": str(uuid.uuid4()), "task": "sleep", "ignore_result": True},
            "properties": {
                "body_encoding": "base64",
                "delivery_tag": "x",
                "delivery_info": {"exchange": "", "routing_key": "prefork"},
            },
        }
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("list_name", LISTS)
def test_a_message_goes_back_to_a_queue_or_becomes_a_dead_letter(client, list_name, way):
    client.flushdb()
    client.hset(KEY, "7", f"{list_name}\n{message()}")
    client.sadd(keys.BURIED, OWNER)

    WAYS[way](client, f"{KEY}#7")

    assert not client.exists(KEY)
    if LISTS[list_name]:
        assert client.llen(list_name) == 1
        assert client.zcard(keys.DEAD) == 0
    else:
        assert client.zcard(keys.DEAD) == 1
        assert list_name == "dead" or not client.exists(list_name)

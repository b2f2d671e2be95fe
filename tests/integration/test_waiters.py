"""Whatever becomes of a message, whoever waits for it is told so."""

import base64
import json
import re
import time
import uuid
import zlib

import celery
import msgpack
import pytest
from celery import chord, group, states

from shared import publishing
from shared.app import app
from shared.broker import deadletters, keys, messages
from shared.broker.connections import store
from shared.broker.pushing import PUSH_ONE
from shared.errors import DaySixError, MessageTooLarge, TaskRefused, WorkerLost
from shared.futures import ClusterExecutor
from shared.multiprocessing import Pool, Process
from shared.pools import PoolKind
from shared.settings import current
from tests.integration import own_tasks
from tests.support import patient, wait_until

KINDS = [kind.value for kind in PoolKind]


def header(**changes):
    def change(message):
        message["headers"].update(changes)

    return change


def body(data):
    def change(message):
        message["body"] = base64.b64encode(data).decode()

    return change


def damaged(message):
    """Expired, and what a pool sends cannot be decoded."""
    FATES["expired"][0](message)
    if message["content-type"] == "application/x-msgpack":
        arguments = msgpack.unpackb(base64.b64decode(message["body"]))
        arguments[0][0] = b"\xc1"
        body(msgpack.packb(arguments))(message)


def large(message):
    message["headers"]["compression"] = "zlib"
    body(zlib.compress(b"\0" * (2 * current().message_limit_bytes)))(message)


def dead(message):
    message["headers"][messages.HISTORY] = [{"worker": "a", "at": 1.0}] * 2


def revoke(message):
    # Each worker has heard of it then.
    app.control.revoke(message["headers"]["id"], reply=True, limit=len(KINDS), timeout=20)


# How a message is changed on its way, and what is said of that to whoever waits.
FATES = {
    "refused": (header(retries="many"), "its retries is no int"),
    "deep": (header(tenant=json.loads("[" * 50 + "]" * 50)), "nested too deeply"),
    "unknown": (header(task="no.such"), "no.such"),
    "undecodable": (body(b"\xc1"), "cannot be decoded"),
    "no body": (lambda message: message.pop("body"), "its body is no text"),
    "disallowed": (
        lambda m: m.update({"content-type": "application/x-yaml"}),
        "the worker refused",
    ),
    "too large": (large, "unpacked it has more than"),
    "expired": (header(expires="2020-01-01T00:00:00+00:00"), "expired|revoked"),
    "damaged": (damaged, "expired|revoked"),
    "dead": (dead, "was lost 3 times"),
    "revoked": (revoke, "revoked|cancelled"),
}


def deliver(kind, text, fate):
    """Put a message on a queue as it would be there after its fate."""
    message = json.loads(text)
    FATES[fate][0](message)
    text = json.dumps(message)
    if fate != "dead":
        store().lpush(kind, text)
        return
    # It is with a worker that is lost.
    owner = f"lost@here:{uuid.uuid4().hex}"
    store().hset(keys.TAKEN + owner, "1", f"{kind}\n{text}")
    store().sadd(keys.BURIED, owner)


@pytest.fixture(params=KINDS)
def kind(request, stack):
    return request.param


@pytest.fixture(params=FATES)
def fate(request, kind, monkeypatch):
    """Every message that is sent meets its fate."""

    def push(queue, texts, **_):
        for text in texts:
            deliver(queue, text, request.param)
        return len(texts)

    monkeypatch.setattr(publishing, "push", push)
    for way in ("ask", "call"):  # the prepared message's, and kombu's
        monkeypatch.setattr(PUSH_ONE, way, lambda *parts: push(parts[2], [parts[5]]))
    return request.param


def says(error, fate):
    return re.search(FATES[fate][1], str(error)) is not None


def test_a_result_a_pool_a_future_and_a_process_are_told(kind, fate, capfd):
    sleep = app.tasks["sleep"]
    with Pool(1, kind=kind) as pool, ClusterExecutor(1, kind=kind) as executor:
        process = Process(target=time.sleep, args=(0,), kind=kind)
        process.start()
        waiters = {
            "result": sleep.apply_async((0,), queue=kind).get,
            "pool": pool.apply_async(time.sleep, (0,)).get,
            "map": pool.map_async(time.sleep, [0, 0], chunksize=2).get,
            "future": executor.submit(time.sleep, 0).result,
        }
        for name, get in waiters.items():
            with pytest.raises(Exception) as raised:
                get(timeout=patient(30))
            assert not isinstance(raised.value, TimeoutError | celery.exceptions.TimeoutError), name
            assert says(raised.value, fate), (name, raised.value)
        process.join(patient(30))

        assert process.exitcode == 1
        assert time.sleep.__name__ in capfd.readouterr().err


def plain(stack):
    """An application of somebody else's, with Celery's own Redis transport."""
    return celery.Celery(
        "plain", broker=stack.redis_url, backend=stack.redis_url, set_as_current=False
    )


def test_the_result_of_a_plain_producer_is_told(stack, kind):
    producer = plain(stack)
    limit = current().message_limit_bytes
    with producer:
        waiting = {
            "too large": producer.send_task("sleep", ("x" * 2 * limit,), queue=kind),
            "unknown": producer.send_task("no.such", queue=kind),
            "packed": producer.send_task(
                "sleep", ("x" * 2 * limit,), queue=kind, compression="zlib"
            ),
        }
        for name, result in waiting.items():
            with pytest.raises(Exception) as raised:
                result.get(timeout=patient(30))
            assert "bytes" in str(raised.value) or "no.such" in str(raised.value), name


def test_a_group_and_a_chord_of_a_plain_producer_are_told(stack, kind):
    producer = plain(stack)
    with producer:
        sleep = producer.signature("sleep", (0,), queue=kind, immutable=True)
        lost = sleep.clone(headers={"deep": json.loads("[" * 50 + "]" * 50)})
        for waiting in (group([sleep, lost]), chord([sleep, lost], sleep), lost | sleep):
            with pytest.raises(Exception) as raised:
                waiting.apply_async().get(timeout=patient(30))
            assert "nested too deeply" in str(raised.value)


def sent(how, size):
    argument = "x" * size
    sleep = app.tasks["sleep"]
    one = sleep.s(argument)
    return {
        "apply_async": lambda: sleep.apply_async((argument,)),
        "delay": lambda: sleep.delay(argument),
        "send_task": lambda: app.send_task("sleep", (argument,)),
        "link": lambda: sleep.apply_async((argument,), link=sleep.s()),
        "group": lambda: group([one, one]).apply_async(),
        "chord": lambda: chord([one, one], sleep.s()).apply_async(),
        "chain": lambda: (one | sleep.s()).apply_async(),
        "packed": lambda: sleep.apply_async((argument,), compression="zlib"),
    }[how]()


@pytest.mark.parametrize(
    "how", ["apply_async", "delay", "send_task", "link", "group", "chord", "chain", "packed"]
)
def test_what_no_worker_would_take_for_its_size_is_refused_at_the_call(stack, how):
    with pytest.raises(MessageTooLarge, match="MESSAGE_LIMIT_BYTES"):
        sent(how, messages.body_limit())


@pytest.mark.parametrize("how", ["apply_async", "map_async", "imap"])
def test_a_call_that_is_too_large_with_its_initializer_is_an_error_of_its_result(stack, how):
    half = current().message_limit_bytes * 2 // 3
    with Pool(1, initializer=len, initargs=("x" * half,), kind="threads") as pool:
        waiting = {
            "apply_async": lambda: pool.apply_async(len, ("x" * half,)).get(patient(30)),
            "map_async": lambda: pool.map_async(len, ["x" * half]).get(patient(30)),
            "imap": lambda: pool.imap(len, ["x" * half]).next(patient(30)),
        }

        with pytest.raises(MessageTooLarge):
            waiting[how]()
        assert pool.apply_async(len, ("x",)).get(patient(30)) == 1


def test_the_largest_message_that_is_sent_is_taken(stack, kind):
    size = messages.body_limit() - 500
    with pytest.raises(Exception, match="str"):
        app.tasks["sleep"].apply_async(("x" * size,), queue=kind).get(timeout=patient(60))


def test_the_errors_say_which_task_and_why():
    assert str(WorkerLost("a.b", "why")).count("a.b") == 1
    assert "producer dead" in str(TaskRefused("a.b", "why"))
    assert issubclass(TaskRefused, DaySixError)


def test_a_task_that_failed_is_a_dead_letter_though_its_worker_was_lost(stack):
    queue = f"nobody-{uuid.uuid4().hex}"
    failed = own_tasks.add.apply_async((1, "x"), queue=queue)

    # As a worker leaves it that is killed when it has stored the failure.
    text, owner = store().rpop(queue), f"gone:{uuid.uuid4().hex}"
    app.backend.store_result(failed.id, TypeError("no sum"), states.FAILURE)
    store().hset(keys.TAKEN + owner, "1", queue.encode() + b"\n" + text)
    store().sadd(keys.BURIED, owner)

    wait_until(lambda: store().hexists(keys.DEAD_LETTERS, failed.id), what="the dead letter")
    assert deadletters.show(failed.id)["reason"] == "TypeError: no sum"
    deadletters.drop(failed.id)

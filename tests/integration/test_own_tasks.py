"""A user's own tasks: found, listed, checked, sent, and followed up on every pool."""

import json
import subprocess
import sys
import time
import uuid

import pytest
from celery import chain, chord, group
from celery.app.task import Context

from producer import arguments, known, outcomes, sending
from shared.app import app
from shared.broker import catalogue, keys, presence
from shared.broker.connections import store
from shared.pools import PoolKind
from tests.integration import own_tasks
from tests.integration.test_producer import producer
from tests.support import patient, wait_until

POOLS = [kind.value for kind in PoolKind]


@pytest.fixture(params=POOLS)
def pool(request, stack):
    return request.param


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["add", "1", "2"], 3),
        (["tests.integration.own_tasks.add", "a", "b"], "ab"),
        (["third_time"], 3),
        (["began"], True),
        (["greet", "World", "--loudly"], "Hello, World!"),
        (["limited"], "limited"),
        (["lengthen", '["a"]', "--by=y"], ["ay"]),
        (["tests.integration.own_tasks:plain", "3"], 6),
        (["tests.integration.own_tasks:plain", "--y", "5", "3"], 15),
        (["tests.integration.own_tasks:awaited", "3"], 3),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_own_task_and_a_plain_function_run_when_sent_by_name(pool, words, result):
    contract, queue = known.find(words[0], PoolKind(pool))
    args, kwargs = arguments.parse(contract, words[1:], "{}")

    order = sending.Order(contract, args, kwargs, queue)
    (task_id,) = sending.send(order, lambda pushed: None, lambda: None).ids
    ((_, meta),) = sending.outcomes([task_id], patient(30))

    outcome = outcomes.from_meta(task_id, meta)
    assert outcome.result == result, outcome
    assert outcome.worker.startswith(f"{pool}@")
    assert outcome.task == contract.name


def test_the_command_sends_an_own_task_with_options_as_keywords(stack):
    words = ("greet", "World", "--loudly", "--pool", "threads", "--wait", "--timeout", "60")

    done = producer("send", *words)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tests.greet[")
    assert done.stdout.endswith("] → 'Hello, World!'\n")


def test_own_tasks_are_listed_with_signature_help_and_usual_pool(stack):
    listed = {each["name"]: each for each in json.loads(producer("tasks", "--json").stdout)}

    task = listed["tests.integration.own_tasks.lengthen"]
    assert task["signature"].endswith("lengthen(items: list[str], by: str = 'x')")
    assert task["help"] == "Lengthen each text."
    assert task["pool"] == "prefork"
    assert listed["tests.integration.own_tasks.routed"]["pool"] == "threads"
    assert listed["tests.greet"]["signature"] == "tests.greet(name: str, loudly: bool = False)"
    assert "examples.own_tasks.resize" in listed
    assert {"sleep", "printcount"} < set(listed)
    assert not {"call", "process", "function"} & set(listed)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["ad", "1", "2"], 2, "did you mean 'add'"),
        (["no.such.task"], 2, "no living worker has a task 'no.such.task'"),
        (["lengthen", "a"], 2, "items='a'"),
        (["greet"], 2, "name"),
        (["greet", "World", "--laudly"], 2, "did you mean '--loudly'"),
        (["tests.integration.own_tasks:plain", "x"], 2, "x='x'"),
        (["tests.integration.own_tasks:plian", "1"], 2, "did you mean"),
        (["os:system"], 1, "outside TASK_MODULES"),
    ],
)
def test_what_cannot_be_sent_is_one_line_before_anything_is_sent(stack, words, status, says):
    before = [store().llen(queue) for queue in POOLS]

    done = producer("send", *words)

    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert [store().llen(queue) for queue in POOLS] == before


def test_the_producer_does_not_import_the_users_module(stack):
    program = (
        "import sys; from producer.__main__ import main\n"
        "sys.argv = ['producer', 'send', 'greet', 'World']\n"
        "try: main()\n"
        "finally: assert 'tests.integration.own_tasks' not in sys.modules\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr


def on(pool, signature):
    return signature.set(queue=pool)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        # Only the first task says where: what follows on it stays with the worker.
        (lambda pool: chain(on(pool, own_tasks.where.s()), own_tasks.where.s()), "{pool}"),
        (
            lambda pool: chord(
                [on(pool, own_tasks.where.s()) for _ in range(3)], own_tasks.where.s()
            ),
            "{pool}",
        ),
        (
            lambda pool: chain(
                on(pool, own_tasks.add.s(1, 2)),
                group(own_tasks.add.s(1), own_tasks.add.s(2)),
                own_tasks.added_up.s(),
            ),
            9,
        ),
        (lambda pool: group(on(pool, own_tasks.where.s()) for _ in range(2)), ["{pool}"] * 2),
        # A route of its own is kept.
        (lambda pool: chain(on(pool, own_tasks.where.s()), own_tasks.routed.s()), "routed"),
    ],
    ids=["chain", "chord", "group in a chain", "group", "routed"],
)
def test_what_follows_on_an_own_task_runs_on_its_queue_unless_routed(pool, make, expected):
    if isinstance(expected, list):
        expected = [each.format(pool=pool) for each in expected]
    elif isinstance(expected, str):
        expected = expected.format(pool=pool)

    assert make(pool).apply_async().get(timeout=patient(30)) == expected


def test_a_task_that_an_own_task_sends_runs_on_its_queue(pool):
    sent = own_tasks.later.apply_async(queue=pool).get(timeout=patient(30))

    assert own_tasks.where.AsyncResult(sent).get(timeout=patient(30)) == pool


def test_a_task_that_is_sent_where_no_worker_is_is_told_in_the_log(pool, stack):
    own_tasks.send_nowhere.apply_async(queue=pool).get(timeout=patient(30))

    log = stack.folder / f"{pool}.log"
    wait_until(
        lambda: "where waits: no running worker consumes 'nowhere'" in log.read_text(),
        what="the log says so",
    )
    store().delete("nowhere")


@pytest.mark.parametrize(
    "options", [{"countdown": 0.5}, {"priority": 9}, {"link": own_tasks.where.s()}], ids=str
)
def test_celerys_options_work_for_own_tasks(pool, options):
    assert own_tasks.where.apply_async(queue=pool, **options).get(timeout=patient(30)) == pool


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        '{"tasks": 5}',
        '{"tasks": [5, {}, {"name": []}], "queues": [5]}',
        '{"functions": {"a": 1}}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_reader_survives_an_odd_entry(stack, text):
    line = {"name": "odd@host", "pool": "prefork", "concurrency": 1, "pid": 1, "running": 0}
    line |= {"process": "odd", "queues": ["prefork"], "until": time.time() + 60}
    store().hset(keys.WORKERS, "odd", json.dumps(line))
    store().set(keys.TASKS + "odd", text, ex=30)

    try:
        found = catalogue.read()
    finally:
        store().hdel(keys.WORKERS, "odd")
        store().delete(keys.TASKS + "odd")

    assert "tests.greet" in found.tasks


def test_what_a_killed_worker_published_ends_with_its_lease(stack):
    (worker,) = (each for each in presence.workers() if each.pool == PoolKind.THREADS)

    left_s = store().ttl(keys.TASKS + worker.process)

    assert 0 < left_s <= catalogue.LEASE_S


def test_what_a_worker_published_is_published_again_when_redis_forgets_it(stack):
    (worker,) = (each for each in presence.workers() if each.pool == PoolKind.THREADS)
    store().delete(keys.TASKS + worker.process)

    wait_until(
        lambda: store().exists(keys.TASKS + worker.process),
        within_s=30,
        what="the worker publishes its tasks again",
    )


def attempt(number):
    return Context(
        id=str(uuid.uuid4()), task="mine", args=[], kwargs={}, retries=number, delivery_info={}
    )


@pytest.mark.parametrize(
    ("before", "of", "after"),
    [
        # The attempt that sent this one on is slower to say so than this one was to end.
        ("SUCCESS", 1, "SUCCESS"),
        ("FAILURE", 1, "FAILURE"),
        ("REVOKED", 1, "REVOKED"),
        # A dead letter that is tried again.
        ("FAILURE", 0, "RETRY"),
        ("STARTED", 1, "RETRY"),
    ],
)
def test_a_slow_attempt_does_not_overwrite_how_a_later_one_ended(
    stack, monkeypatch, before, of, after
):
    backend, task_id = app.backend, str(uuid.uuid4())
    outcome = ValueError("x") if before in ("FAILURE", "REVOKED") else 1
    backend.store_result(task_id, outcome, before, request=attempt(of))
    # Celery looks first, and the later attempt ends between that look and the writing.
    monkeypatch.setattr(backend, "_get_task_meta_for", lambda _: {"status": "PENDING"})

    backend.store_result(task_id, ConnectionError("not yet"), "RETRY", request=attempt(0))

    monkeypatch.undo()
    assert backend.get_task_meta(task_id, cache=False)["status"] == after

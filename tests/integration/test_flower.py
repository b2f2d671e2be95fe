"""Flower beside a Redis that knows its users: it shows everything, and changes nothing."""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from types import SimpleNamespace

import pytest
import redis

from shared import passwords
from shared.broker import inspection, keys
from shared.pools import PoolKind
from shared.settings import current
from tests.support import RedisServer, end_with_parent, free_port, patient, wait_until

LISTS = [kind.value for kind in PoolKind]
# What a client needs to read anything at all.
GROUPS = ("read", "connection", "transaction")
NEEDED = {"sadd", "srem", "brpop", "del", "publish", "psubscribe", "punsubscribe"}
ANSWERS = f"{uuid.UUID(int=1)}.{inspection.REPLIES}"
NAMES = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)]
KEYS = [
    *(name for name in NAMES if name[-1] not in ":-"),
    *(f"{name}x" for name in NAMES if name[-1] in ":-"),
    *LISTS,
    *(f"{name}\x06\x16{step}" for name in LISTS for step in (3, 6, 9)),
    *("unacked", "unacked_index", "unacked_mutex", "celery", "evil.pidbox"),
    *("_kombu.binding.", "_kombu.binding.celery", "_kombu.binding_deadlines"),
    *("_kombu.binding.celery.pidbox", "_kombu.binding.reply.celery.pidbox"),
    f"{uuid.UUID(int=2)}.reply.celery.pidbox",
    f"{ANSWERS}\x06\x165",
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A Redis with the users that `shared.passwords` makes."""
    folder = tmp_path_factory.mktemp("passwords")
    (folder / "redis").mkdir()
    variables = {
        "REDIS_PASSWORD_FILE": str(folder / "redis" / "password"),
        "FLOWER_PASSWORD_FILE": str(folder / "flower" / "password"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        current.cache_clear()
        passwords.make()
    current.cache_clear()
    configuration = (folder / "redis" / passwords.REDIS_CONF).read_text()
    administrator = "user administrator on nopass ~* &* +@all\n"

    def client(user):
        file = folder / {"flower": "flower-redis"}.get(user, user) / "password"
        password = file.read_text().strip() if file.exists() else None
        return redis.Redis(port=server.port, username=user, password=password or "any")

    with RedisServer(config=configuration + administrator, user="administrator") as server:
        yield SimpleNamespace(port=server.port, folder=folder, admin=server.client, client=client)


@pytest.fixture(scope="module")
def service(guarded):
    """That Redis, a worker and Flower, each as its own user."""
    running = []

    def launch(command, user, log_as="flower", **more):
        file = guarded.folder / {"flower": "flower-redis"}.get(user, user) / "password"
        environment = {
            **os.environ,
            "REDIS_URL": f"redis://{user}@127.0.0.1:{guarded.port}/0",
            "REDIS_PASSWORD_FILE": str(file),
            "TASK_MODULES": "examples",
            "HEALTH_INTERVAL_S": "1",
            **more,
        }
        log = (guarded.folder / f"{log_as}.log").open("wb")
        words = [sys.executable, "-m", "celery", "-A", "worker", *command]
        running.append(
            subprocess.Popen(
                words, env=environment, stdout=log, stderr=log, preexec_fn=end_with_parent
            )
        )

    flower_port = free_port()
    for pool in LISTS:
        pool_of = ["worker", f"--pool={pool}", f"--queues={pool}", "-n", f"{pool}@here"]
        alive = str(guarded.folder / pool)
        launch([*pool_of, "-c2", "--without-mingle"], "worker", log_as=pool, HEALTH_FILE=alive)
    configuration = os.path.join(os.getcwd(), "worker", "flowerconfig.py")
    launch(
        ["flower", f"--conf={configuration}", "--address=127.0.0.1", f"--port={flower_port}"],
        "flower",
        FLOWER_PASSWORD_FILE=str(guarded.folder / "flower" / "password"),
    )
    login = ("flower", (guarded.folder / "flower" / "password").read_text().strip())

    def fetch(path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{flower_port}{path}", method=method)
        token = base64.b64encode(":".join(login).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=patient(30)) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    guarded.fetch, guarded.login, guarded.flower_port = fetch, login, flower_port
    guarded.log = lambda name: (guarded.folder / f"{name}.log").read_text(errors="replace")
    try:
        wait_until(lambda: all((guarded.folder / pool).exists() for pool in LISTS), 60)
        wait_until(lambda: fetch("/healthcheck")[0] == 200, 60)
        wait_until(lambda: len(json.loads(fetch("/api/workers?refresh=1")[1] or "{}")) == 3, 60)
        yield guarded
    finally:
        for process in running:
            process.kill()
            process.wait()


def refused(administrator, *command):
    """Whether Redis would refuse Flower's user a command."""
    answer = administrator.execute_command("ACL", "DRYRUN", "flower", *command)
    return b"permissions" in answer


def all_commands(administrator):
    """Each command of this server: its words → arity, flags, the place of its first key."""
    connection = administrator.connection_pool.get_connection()
    connection.send_command("COMMAND")
    entries = connection.read_response()
    administrator.connection_pool.release(connection)
    found = {}
    while entries:
        name, arity, flags, first_key, *_, below = entries.pop()[:10]
        if below:
            entries += below
        else:
            words = tuple(name.decode().split("|"))
            found[words] = (abs(arity), {flag.decode() for flag in flags}, first_key)
    return found


def test_flowers_user_may_run_reading_commands_and_six_more(guarded):
    admin = guarded.admin
    groups = {
        name if isinstance(name, str) else name.decode()
        for group in GROUPS
        for name in admin.execute_command("ACL", "CAT", group)
    }
    allowed = set()
    for words, (arity, *_) in all_commands(admin).items():
        command = [*words, *["1"] * (arity - len(words))]
        if b"permissions to run" not in admin.execute_command("ACL", "DRYRUN", "flower", *command):
            allowed.add("|".join(words))

    assert allowed - groups == NEEDED


@pytest.mark.parametrize("key", KEYS)
def test_flowers_user_changes_no_key_of_ours(guarded, key):
    writing = {
        words: (arity, first_key)
        for words, (arity, flags, first_key) in all_commands(guarded.admin).items()
        if "write" in flags and first_key > 0
    }
    changing = []
    for words, (arity, first_key) in writing.items():
        command = [*words, *["1"] * max(arity - len(words), first_key)]
        command[first_key] = key
        if not refused(guarded.admin, *command):
            changing.append(words)

    assert len(writing) > 80
    assert changing == []


def test_flowers_user_publishes_to_no_mailbox_and_no_result_of_others(guarded):
    flower = guarded.client("flower")
    channels = [
        "/0.celery.pidbox",
        "/0.celeryev/task.sent",
        "celery-task-meta-x",
        "__keyspace@0__:prefork",
        "/0.inspect.pidbox.x",
    ]

    for channel in channels:
        with pytest.raises(redis.exceptions.NoPermissionError):
            flower.publish(channel, "{}")
    flower.publish("/0.inspect.pidbox", "{}")


def test_flowers_user_runs_no_script_and_no_transaction_that_writes(guarded):
    flower = guarded.client("flower")

    for command in (
        ["EVAL", "return redis.call('lpush', KEYS[1], 'x')", 1, "threads"],
        ["SCRIPT", "LOAD", "return 1"],
        ["FCALL", "f", 0],
        ["SORT", "threads", "STORE", "prefork"],
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            flower.execute_command(*command)
    with pytest.raises(redis.exceptions.NoPermissionError):
        flower.pipeline().llen("threads").lpush("threads", "x").execute()


CONTROLS = [
    "worker/shutdown/{node}",
    "worker/pool/restart/{node}",
    "worker/pool/grow/{node}",
    "worker/pool/shrink/{node}",
    "worker/pool/autoscale/{node}?min=1&max=2",
    "worker/queue/add-consumer/{node}?queue=evil.pidbox",
    "worker/queue/cancel-consumer/{node}?queue=threads",
    "task/apply/sleep",
    "task/async-apply/sleep",
    "task/send-task/sleep",
    "task/abort/{id}",
    "task/timeout/sleep?workername={node}&hard=1",
    "task/rate-limit/sleep?workername={node}&ratelimit=1",
    "task/revoke/{id}?terminate=true&signal=SIGKILL",
]


@pytest.mark.parametrize("path", CONTROLS)
def test_flowers_login_changes_nothing(service, path):
    status, _ = service.fetch("/api/" + path.format(node="threads@here", id=uuid.uuid4()), "POST")

    assert status == 403


def ask(service, method, *, channel="/0.inspect.pidbox", asker=None, **fields):
    """Send workers a command of remote control, as Flower's user of Redis; the list for answers."""
    asker = asker or str(uuid.uuid4())
    body = {
        "method": method,
        "arguments": {},
        "destination": None,
        "ticket": str(uuid.uuid4()),
        "reply_to": {"exchange": "", "routing_key": asker},
        **fields,
    }
    message = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"clock": 1, "expires": 0},
        "properties": {
            "delivery_mode": 2,
            "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    service.client("flower").publish(channel, json.dumps(message))
    return f"{asker}.{inspection.REPLIES}"


COMMANDS = [
    ("shutdown", {}),
    ("add_consumer", {"queue": "evil.pidbox"}),
    ("cancel_consumer", {"queue": "threads"}),
    ("revoke", {"task_id": "{id}", "terminate": True}),
    ("terminate", {"task_id": "{id}", "signal": "KILL"}),
    ("hello", {"from_node": "x", "revoked": {"{id}": 1}}),
    ("pool_shrink", {"n": 16}),
    ("rate_limit", {"task_name": "sleep", "rate_limit": "1/h"}),
    ("time_limit", {"task_name": "sleep", "hard": 0.001}),
    ("election", {"id": "x", "topic": "x", "action": None}),
    ("disable_events", {}),
    ("ping", {}),
]


@pytest.mark.parametrize("pool", LISTS)
def test_a_worker_takes_no_command_of_flowers_and_still_answers_its_questions(service, pool):
    task_id = str(uuid.uuid4())
    for method, arguments in COMMANDS:
        filled = json.loads(json.dumps(arguments).replace("{id}", task_id))
        ask(service, method, arguments=filled)
    # Questions that would put the answer elsewhere, or that are no questions.
    ask(service, "stats", asker=pool)
    ask(service, "stats", reply_to={"exchange": "", "routing_key": pool})
    ask(service, "stats", destination=5)
    ask(service, ["stats"])
    ask(service, "stats", ticket={})
    for text in ("[]", "x", "1" * 5000, '{"properties": 1}', "[" * 100_000, '"\\ud800"', b"\xff"):
        service.client("flower").publish("/0.inspect.pidbox", text)

    found = ask(service, "active_queues", destination=[f"{pool}@here"])

    answer = wait_until(lambda: service.client("flower").brpop(found, timeout=1))
    shown = json.loads(base64.b64decode(json.loads(answer[1])["body"]))
    assert [queue["name"] for queue in shown[f"{pool}@here"]] == [pool]
    assert service.admin.llen(pool) == 0
    assert service.admin.exists("evil.pidbox") == 0
    # The task that was "revoked" runs, at once and with every thread there.
    assert run_task(service, pool, task_id) == "SUCCESS"
    assert "Unrecoverable" not in service.log(pool)


def run_task(service, pool, task_id):
    """Send a task by hand, as a producer does; its state in the end."""
    worker = service.client("worker")
    body = base64.b64encode(json.dumps([[0], {}, {}]).encode()).decode()
    message = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": "sleep", "id": task_id, "root_id": task_id},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": pool},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": task_id,
        },
    }
    worker.lpush(pool, json.dumps(message))

    def state():
        stored = worker.get(keys.RESULT + task_id)
        status = json.loads(stored)["status"] if stored else None
        return status if status in ("SUCCESS", "FAILURE", "REVOKED") else None

    return wait_until(state)


def test_flower_is_refused_nothing_that_it_needs(service):
    status, page = service.fetch("/worker/gevent@here")

    assert status == 200
    assert "gevent" in page
    assert "NoPermission" not in service.log("flower")


def test_flower_sees_each_queues_length_and_each_page_as_its_own_user(service):
    def queues():
        service.fetch("/api/workers?refresh=1")
        status, text = service.fetch("/api/queues/length")
        assert status == 200
        return {queue["name"] for queue in json.loads(text)["active_queues"]}

    wait_until(lambda: queues() == set(LISTS), what="an answer of each worker")
    paths = ["/", "/workers", "/tasks", "/broker", *(f"/worker/{name}@here" for name in LISTS)]
    pages = {path: service.fetch(path) for path in paths}

    assert {path: page[0] for path, page in pages.items()} == dict.fromkeys(pages, 200)
    assert all(f"<td>{name}</td>" in pages["/broker"][1] for name in LISTS)
    assert "No queue data" not in pages["/broker"][1]

"""The whole stack, started as a reader starts it, and looked at as a reader looks at it.

One stack for all of them, from a copy of the sources; each test leaves it as it found it.
"""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from shared.pools import PoolKind
from tests.stack.conftest import ROOT, SOURCES, Compose, freeze, health, run
from tests.support import patient, wait_until

WORKERS = [kind.value for kind in PoolKind]
LASTING = [*WORKERS, "redis", "flower", "endpoint"]


@pytest.fixture(scope="module")
def stack(image, tmp_path_factory):
    """A running stack under a name of its own; it also knows how long its start took."""
    directory = tmp_path_factory.mktemp("day-six")
    for name in SOURCES:
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("docker-compose.yml", "Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, directory / name)
    compose = Compose(directory)
    try:
        started = time.monotonic()
        compose("up", "--detach", "--wait")
        compose.start_s = time.monotonic() - started
        yield compose
    finally:
        compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout=5")


@pytest.fixture(scope="module")
def login(stack):
    return stack.login()


def fetch(stack, path, login=None):
    """Status and text of one of Flower's pages."""
    request = urllib.request.Request(f"http://127.0.0.1:{stack.flower_port}{path}")
    if login:
        token = base64.b64encode(":".join(login).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=patient(10)) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def tasks(stack, login):
    """Flower's tasks by id."""
    return json.loads(fetch(stack, "/api/tasks", login)[1])


def online(stack):
    """The workers that Flower's metrics say are there, by pool."""
    _, text = fetch(stack, "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("flower_worker_online{")]
    names = [
        line.partition('worker="')[2].partition("@")[0] for line in lines if line.endswith(" 1.0")
    ]
    return {name: names.count(name) for name in sorted(set(names))}


def wait_for_health(stack, wanted, services=WORKERS, within_s=60):
    for service in services:
        (container,) = stack.containers(service)
        wait_until(
            lambda c=container: health(c) == wanted, within_s=within_s, what=f"{service} {wanted}"
        )


def test_everything_is_healthy_within_a_minute(stack):
    wait_for_health(stack, "healthy", LASTING, within_s=1)

    assert stack.start_s < patient(60)


def test_all_containers_together_idle_in_less_than_700_mib(stack):
    lines = run(
        "docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *stack.containers()
    ).splitlines()

    used = [line.split("/")[0].strip() for line in lines]

    assert len(used) == len(LASTING)
    assert all(amount.endswith("MiB") for amount in used)
    assert sum(float(amount.removesuffix("MiB")) for amount in used) < 700


def test_flower_asks_for_a_login_and_its_metrics_do_not(stack, login):
    pages = ["/", "/tasks", "/api/tasks", "/api/workers"]

    assert {page: fetch(stack, page)[0] for page in pages} == dict.fromkeys(pages, 401)
    assert {page: fetch(stack, page, login)[0] for page in pages} == dict.fromkeys(pages, 200)
    assert fetch(stack, "/", (login[0], "wrong"))[0] == 401
    assert fetch(stack, "/metrics")[0] == 200


def test_a_browser_sees_three_workers_and_each_task_under_its_own_name(stack, login, chromium):
    answer = json.loads(stack.producer("send", "printcount", "3", "--wait", "--json"))
    stack.producer("send", "fetch", "--wait")
    stack.python(
        "from shared import multiprocessing\n"
        "from examples.s2_pool import printcount\n"
        "with multiprocessing.Pool(2) as pool: print(pool.map(printcount, [7], chunksize=1))"
    )
    user, password = login
    context = chromium.new_context(http_credentials={"username": user, "password": password})
    page = context.new_page()
    try:
        page.goto(f"http://127.0.0.1:{stack.flower_port}/")
        page.wait_for_function("document.querySelector('#workers-online').innerText == '3'")
        workers = page.inner_text("#workers-table")
        page.goto(f"http://127.0.0.1:{stack.flower_port}/tasks")
        page.wait_for_function(
            "document.querySelector('#tasks-table tbody').innerText.match(/SUCCESS/g)?.length >= 3"
        )
        rows = page.inner_text("#tasks-table tbody").splitlines()
    finally:
        context.close()

    assert all(f"{name}@" in workers for name in WORKERS)
    (printed,) = [row for row in rows if row.startswith("printcount\t")]
    assert "SUCCESS" in printed
    assert "(3,)" in printed
    assert str(answer["id"]) in printed
    assert any(row.startswith("fetch\t") and "endpoint:8000" in row for row in rows)
    (called,) = [row for row in rows if row.startswith("examples.s2_pool.printcount\t")]
    assert "(7,)" in called
    assert not any(row.startswith("call\t") for row in rows)


def test_no_password_is_in_an_argument_an_environment_or_a_log(stack, login):
    file = "/run/passwords/redis/password"
    # Each has its own there.
    passwords = {
        stack("exec", "-T", service, "cat", file).strip()
        for service in ("redis", "gevent", "flower")
    }
    passwords.add(stack.python(f"print(open({file!r}).read())").strip())
    everything = run("docker", "inspect", *stack.containers())
    everything += stack("logs", "--no-color")
    arguments = "for p in /proc/[0-9]*; do cat $p/cmdline $p/environ 2>/dev/null; done"
    for service in LASTING:
        everything += stack("exec", "-T", service, "sh", "-c", arguments)

    assert len(passwords) == 4
    assert all(len(password) > 30 and password not in everything for password in passwords)
    assert login[1] not in everything


def test_redis_wants_a_password(stack):
    assert "NOAUTH" in stack("exec", "-T", "redis", "redis-cli", "ping")


ADMINISTRATION = [
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG GET *",
    "KEYS *",
    "SHUTDOWN NOSAVE",
    "MONITOR",
    "ACL LIST",
    "CLIENT KILL TYPE normal",
    "REPLICAOF NO ONE",
    "MODULE LIST",
    "SCRIPT FLUSH",
    "FUNCTION FLUSH",
]
TRY = """
import redis
from shared.broker.connections import store
for command in {commands!r}:
    try:
        print(command, store().execute_command(*command.split()))
    except redis.exceptions.NoPermissionError:
        print(command, "refused")
"""


@pytest.mark.parametrize("service", ["gevent", "flower", "producer"])
def test_no_service_may_administer_redis(stack, service):
    assert try_commands(stack, service, ADMINISTRATION) == [
        f"{command} refused" for command in ADMINISTRATION
    ]


def test_flower_reads_queues_and_writes_none(stack):
    assert try_commands(stack, "flower", ["LLEN prefork", "LPUSH prefork x", "DEL counts"]) == [
        "LLEN prefork 0",
        "LPUSH prefork x refused",
        "DEL counts refused",
    ]


def try_commands(stack, service, commands):
    """What Redis says to a service's own user."""
    script = TRY.format(commands=commands)
    if service == "producer":
        return stack.python(script).splitlines()
    return stack("exec", "-T", service, "python", "-c", script).splitlines()


def test_metrics_are_served_to_this_machine(stack):
    stack("--profile", "metrics", "up", "--detach", "--wait", "metrics")

    url = f"http://127.0.0.1:{stack.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=patient(10)) as response:
        told = response.read().decode()

    assert "\nday_six_up 1.0\n" in told
    assert '\nday_six_workers{queue="gevent"} 1.0\n' in told
    stack("rm", "--stop", "--force", "metrics")


def test_two_schedulers_send_what_is_due_once_and_may_do_nothing_else(stack):
    stack("--profile", "beat", "up", "--detach", "--wait", "--scale", "beat=2", "beat")
    stack.producer("schedule", "add", "--every", "2", "often", "sleep", "0")

    def row():
        (found,) = json.loads(stack.producer("schedule", "list", "--json"))
        return found

    wait_until(lambda: row()["runs"] >= 2, within_s=60, what="it ran twice")
    may = ["LPUSH prefork x", "LPOP prefork", "EXISTS redbeat:often"]
    may_not = [
        "LPUSH mine x",
        "GET anything",
        "HGETALL workers",
        "DEL celery-task-meta-x",
        "KEYS *",
    ]
    said = try_commands(stack, "beat", [may_not[0], *may, *may_not[1:]])
    stack.producer("schedule", "remove", "often")
    stack("rm", "--stop", "--force", "beat")

    refused = [line.endswith(" refused") for line in said]
    assert refused == [True, *[False] * len(may), *[True] * (len(may_not) - 1)], said


def test_a_task_of_ones_own_in_examples_is_found_after_a_restart(stack):
    file = stack.directory / "examples" / "of_my_own.py"
    file.write_text(
        "from celery import shared_task\n\n\n@shared_task\ndef triple(x: int) -> int:\n"
        '    """Multiply by three."""\n    return 3 * x\n'
    )
    stack("restart", *WORKERS)

    def sent():
        try:
            return stack.producer("send", "triple", "14", "--wait", "--json", "--timeout", "30")
        except AssertionError:
            return ""  # no worker is back yet

    try:
        wait_until(lambda: '"result": 42' in sent(), within_s=90, what="the task runs")
        listed = stack.producer("tasks", "--json")
    finally:
        file.unlink()

    assert "examples.of_my_own.triple(x: int)" in listed
    wait_until(
        lambda: [health(one) for one in stack.containers(*WORKERS)] == ["healthy"] * 3, within_s=90
    )


def test_redis_is_on_one_network_that_has_no_way_out(stack):
    of_redis = run(
        "docker",
        "inspect",
        "--format",
        "{{json .NetworkSettings.Networks}}",
        *stack.containers("redis"),
    )
    (network,) = json.loads(of_redis)

    assert (
        run("docker", "network", "inspect", "--format", "{{.Internal}}", network).strip() == "true"
    )


def test_a_container_cannot_write_to_itself(stack):
    for service in LASTING:
        attempt = "touch /x /usr/x /etc/x 2>&1 || true"
        assert stack("exec", "-T", service, "sh", "-c", attempt).count("Read-only") == 3


def test_a_reader_sets_a_password_of_their_own(stack, login):
    stack("run", "--rm", "-T", "passwords", "set", "flower", input="three little words\n")
    stack("restart", "flower")
    mine = (login[0], "three little words")
    wait_until(lambda: reachable(stack, "/healthcheck"), within_s=30, what="Flower is back")

    accepted, refused = fetch(stack, "/", mine)[0], fetch(stack, "/", login)[0]
    stack("run", "--rm", "-T", "passwords", "set", "flower", input=f"{login[1]}\n")
    stack("restart", "flower")
    wait_until(lambda: reachable(stack, "/healthcheck"), within_s=30, what="Flower is back")

    assert (accepted, refused) == (200, 401)
    assert fetch(stack, "/", login)[0] == 200


def reachable(stack, path):
    try:
        return fetch(stack, path)[0] == 200
    except OSError:
        return False


def test_a_password_that_a_browser_could_not_send_is_refused(stack, login):
    set_flower = stack.command("run", "--rm", "-T", "passwords", "set", "flower")
    done = subprocess.run(
        set_flower,
        check=False,
        cwd=stack.directory,
        env=stack.environment,
        input=b"short\n",
        capture_output=True,
    )

    assert done.returncode == 1
    assert b"at least 8 characters" in done.stderr
    assert stack.login() == login


def test_the_endpoint_lets_hundreds_wait_at_once(stack):
    script = (
        "import asyncio, time\n"
        "async def get(path):\n"
        "    reader, writer = await asyncio.open_connection('endpoint', 8000)\n"
        "    writer.write(f'GET {path} HTTP/1.0\\r\\n\\r\\n'.encode())\n"
        "    return int((await reader.read()).split()[1])\n"
        "async def main():\n"
        "    started = time.monotonic()\n"
        "    print({*await asyncio.gather(*(get('/slow?delay_s=1') for _ in range(300)))})\n"
        "    print(time.monotonic() - started)\n"
        "    print(await get('/slow?delay_s=31'), await get('/slow?delay_s=soon'))\n"
        "asyncio.run(main())\n"
    )

    statuses, took_s, refused = stack.python(script).splitlines()

    assert statuses == "{200}"
    assert 1 <= float(took_s) < patient(10)
    assert refused == "400 400"


def test_a_frozen_worker_is_unhealthy(stack):
    frozen = [stack.containers(name)[0] for name in WORKERS]
    for container in frozen:
        freeze(container)
    try:
        wait_for_health(stack, "unhealthy")
    finally:
        for container in frozen:
            freeze(container, "CONT")

    wait_for_health(stack, "healthy")


def test_a_cut_network_and_a_killed_redis_lose_nothing_and_work_goes_on(stack):
    network = f"{stack.project}_broker"
    cut_off = [stack.containers(name)[0] for name in WORKERS]
    ids = []
    for name in WORKERS:
        order = ("send", "sleep", "0.5", "--count=50", f"--pool={name}", "--json")
        ids += json.loads(stack.producer(*order))["ids"]
    for container in cut_off:
        run("docker", "network", "disconnect", network, container)
    wait_for_health(stack, "unhealthy")
    for container in cut_off:
        run("docker", "network", "connect", network, container)
    answering = "from shared.app import app; print(len(app.control.ping(timeout=2)))"
    wait_until(lambda: stack.python(answering).strip() == "3", within_s=30, what="all three answer")
    wait_for_health(stack, "healthy")

    (broker,) = stack.containers("redis")
    run("docker", "kill", "--signal=KILL", broker)
    stack("up", "--detach", "--wait")

    states = stack.python(
        "from celery.result import AsyncResult\n"
        "from shared.app import app\n"
        f"for i in {ids!r}: print(AsyncResult(i, app=app).get(timeout=90))"
    )
    assert states.split() == ["0.5"] * len(ids)


def test_what_scripts_and_transactions_wrote_outlives_redis(stack):
    """Redis reads it back as its user `default`."""
    written = (
        "from shared.publishing import push\n"
        "from shared.broker.connections import store\n"
        "push('aside', [b'one', b'two'])\n"
        "store().pipeline().rpush('beside', 'x').rpush('beside', 'y').execute()"
    )
    read = "from shared.broker.connections import store; print(store().llen('aside'), store().llen('beside'))"
    stack.python(written)
    stack("restart", "redis")
    stack("up", "--detach", "--wait")

    assert stack.python(read).split() == ["2", "2"]


def test_a_service_scaled_to_three_is_three_workers_in_flower(stack):
    stack("up", "--detach", "--wait", "--no-recreate", "--scale", "prefork=3")
    try:
        wait_until(
            lambda: online(stack).get("prefork") == 3, within_s=30, what="three prefork workers"
        )
    finally:
        stack("up", "--detach", "--wait", "--no-recreate", "--scale", "prefork=1")

    wait_until(lambda: online(stack).get("prefork") == 1, within_s=30, what="one prefork worker")


def test_watch_restarts_the_workers_when_code_changes(stack):
    before = {name: started_at(stack, name) for name in LASTING}
    watch = stack.start("watch", "--no-up", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        # It says so on its first line, and looks from then on.
        assert b"Watch" in watch.stdout.readline()
        task = stack.directory / "worker" / "celery.py"
        task.write_text(task.read_text() + "\nprint('the new code')\n")
        wait_until(
            lambda: all(started_at(stack, name) != before[name] for name in WORKERS),
            within_s=60,
            what="the workers are restarted",
        )
    finally:
        watch.terminate()
        watch.communicate(timeout=patient(10))

    wait_for_health(stack, "healthy")
    assert all("the new code" in stack("logs", name) for name in WORKERS)
    others = set(LASTING) - set(WORKERS)
    assert {name: started_at(stack, name) for name in others} == {n: before[n] for n in others}


def started_at(stack, service):
    names = stack("ps", "--all", "--quiet", service).split()
    return run("docker", "inspect", "--format", "{{.State.StartedAt}}", *names)


def test_stop_and_down_while_tasks_run_lose_none(stack, login):
    # Twice what a prefork worker runs at once, and fewer than the others do.
    ids = [
        task_id
        for name in WORKERS
        for task_id in json.loads(
            stack.producer("send", "sleep", "5", "--count=16", f"--pool={name}", "--json")
        )["ids"]
    ]
    seen = lambda state: [i for i, t in tasks(stack, login).items() if t["state"] == state]  # noqa: E731
    wait_until(lambda: set(ids) & set(seen("STARTED")), within_s=20, what="tasks run")

    stack("stop")
    codes = {name: exit_code(stack, name) for name in WORKERS}
    stack("down")
    stack("up", "--detach", "--wait")

    assert codes == dict.fromkeys(WORKERS, 0), "each worker ended by itself, none was killed"
    states = stack.python(
        "import sys\n"
        "from celery.result import AsyncResult\n"
        "from shared.app import app\n"
        f"for i in {ids!r}: print(AsyncResult(i, app=app).get(timeout=60))"
    )
    assert list(map(float, states.split())) == [5.0] * len(ids)
    assert stack.login() == login, "the passwords outlive the containers"
    known = tasks(stack, login)
    assert {known[i]["state"] for i in ids} == {"SUCCESS"}, "and Flower's history is whole"


def exit_code(stack, service):
    names = stack("ps", "--all", "--quiet", service).split()
    return int(run("docker", "inspect", "--format", "{{.State.ExitCode}}", *names))

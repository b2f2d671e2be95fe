"""Tools that read a broker's address: they find an ordinary Redis."""

import base64
import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request

import kombu
import pytest
from celery import Celery
from kombu.transport.redis import Transport as KombusTransport

from shared.app import app
from shared.broker import presence
from shared.broker.transport import Transport
from shared.pools import PoolKind
from tests.support import free_port, wait_until

PASSWORD = "a password: of @Flower"
NAMES = [kind.value for kind in PoolKind]


@pytest.fixture(scope="module")
def flower(stack, tmp_path_factory):
    """Flower's address, beside the stack's workers."""
    folder = tmp_path_factory.mktemp("flower")
    (folder / "password").write_text(PASSWORD)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "worker", "flower"),
                *("--conf=worker/flowerconfig.py", "--address=127.0.0.1", f"--port={port}"),
            ],
            env={
                **stack.process_environment(),
                "FLOWER_PASSWORD_FILE": str(folder / "password"),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"

    def answers():
        assert process.poll() is None, (folder / "log").read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthcheck"):
            return True
        return False

    wait_until(answers, what="the start of Flower")
    yield url, folder / "log"
    process.terminate()
    process.wait(10)


def fetch(url):
    token = base64.b64encode(f"flower:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def run(stack, *command):
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", *command],
        env=stack.process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def secret(stack):
    return stack.redis_url.partition("@")[0].rpartition(":")[2]


def test_a_connection_shows_the_scheme_of_redis_and_hides_the_password(stack):
    address = stack.redis_url.partition("@")[2]

    with app.connection_for_read() as connection:
        assert connection.as_uri() == f"redis://:**@{address}"
        assert connection.as_uri(include_password=True) == stack.redis_url
        assert connection.info()["transport"] == "redis"
        assert (connection.transport.driver_type, connection.transport.driver_name) == (
            "redis",
            "redis",
        )
        assert type(connection.transport) is type(connection.clone().transport) is Transport


def test_another_application_of_the_process_keeps_kombus_transport(stack):
    others = Celery("another", broker=stack.redis_url)

    with others.connection_for_read() as connection, kombu.Connection(stack.redis_url) as plain:
        assert type(connection.transport) is type(plain.transport) is KombusTransport


@pytest.mark.parametrize("name", NAMES)
def test_a_workers_log_names_the_broker_without_its_password(stack, name):
    log = (stack.folder / f"{name}.log").read_text()
    address = stack.redis_url.partition("@")[2]

    assert f"transport:   redis://:**@{address}" in log
    assert f"Connected to redis://:**@{address}" in log
    assert "shared.broker.transport" not in log
    assert secret(stack) not in log


def test_celerys_own_commands_name_the_broker_without_its_password(stack):
    stats = run(stack, "inspect", "stats", "--json")
    report = run(stack, "report")

    brokers = [worker["broker"] for worker in json.loads(stats.stdout).values()]
    assert [broker["transport"] for broker in brokers] == ["redis"] * 3
    assert "transport:redis " in report.stdout
    assert secret(stack) not in stats.stdout + report.stdout


def test_flower_knows_how_long_each_queue_is(flower):
    url, log = flower
    queue = NAMES[0]
    sent = [app.send_task("sleep", [0.2], queue=queue) for _ in range(80)]

    found = wait_until(lambda: queue in lengths(url) and lengths(url)[queue] and lengths(url))

    assert set(NAMES) <= set(found)
    assert found[queue] > 0
    for result in sent:
        result.get(timeout=30)
    assert lengths(url)[queue] == 0
    assert "redis://:**@" in log.read_text()


def lengths(url):
    status, text = fetch(f"{url}/api/queues/length")
    assert status == 200, text
    return {queue["name"]: queue["messages"] for queue in json.loads(text)["active_queues"]}


def test_every_page_of_flower_works_in_a_browser(flower, chromium):
    url, _ = flower
    node = next(worker.name for worker in presence.workers())
    sent = app.send_task("printcount", [3])
    sent.get(timeout=20)
    pages = {
        "/": node,
        "/workers": node,
        f"/worker/{node}": "redis",
        "/tasks": "printcount",
        f"/task/{sent.id}": "printcount",
        "/broker": NAMES[-1],
    }
    context = chromium.new_context(http_credentials={"username": "flower", "password": PASSWORD})
    try:
        page = context.new_page()
        for path, expected in pages.items():
            assert page.goto(f"{url}{path}").status == 200, path
            page.wait_for_function("word => document.body.textContent.includes(word)", arg=expected)
        queues = page.inner_text("#queue-table tbody")
    finally:
        context.close()

    assert all(name in queues for name in NAMES)

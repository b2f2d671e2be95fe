"""A worker and the producer give the same verdict on an address of Redis."""

import os
import subprocess
import sys
from urllib.parse import quote

import pytest

from tests.support import RedisServer, end_with_parent

PASSWORD = "p/a#s?s@w:o%r d;e[f]"
REFUSED = [
    "redis://localhost:6379/0?socket_timeout=5",
    "redis://localhost:6379/0?db=4",
    "redis://localhost:6379/0?max_connections=5",
    "redis://:a/b@localhost:6379/0",
    "redis+socket:///run/redis.sock",
    "unix:///run/redis.sock",
]
WORKER = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--pool=threads", "-c1"]
PRODUCER = [sys.executable, "-m", "producer"]


@pytest.fixture(scope="module")
def port():
    """The port of a Redis with a password of odd characters."""
    config = f'requirepass "{PASSWORD}"\n'
    with RedisServer(config=config, user="default", password=PASSWORD) as server:
        yield server.port


def environment(url):
    return {**os.environ, "REDIS_URL": url}


@pytest.mark.parametrize("url", REFUSED)
def test_both_refuse_an_address_in_the_same_line(url):
    worker = subprocess.Popen(
        WORKER, env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    producer = subprocess.run(
        [*PRODUCER, "status"], env=environment(url), capture_output=True, text=True, check=False
    )
    said = worker.communicate(timeout=60)[0]

    assert producer.returncode == 2
    assert worker.returncode == 1
    assert producer.stderr.startswith("producer: REDIS_URL: ")
    assert said == producer.stderr.replace("producer: ", "worker: ", 1)


@pytest.mark.parametrize(
    "form", ["REDIS://:{}@localhost:{}/5/", " redis://default:{}@127.0.0.1:{}"]
)
def test_a_worker_runs_what_the_producer_sends_to_the_same_address(port, form):
    url = form.format(quote(PASSWORD, safe=""), port)
    worker = subprocess.Popen(
        [*WORKER, "-Q", "threads", "--without-mingle"],
        env=environment(url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_parent,
    )
    try:
        words = ["send", "sleep", "0", "--pool", "threads", "--wait", "--timeout", "60"]
        done = subprocess.run(
            [*PRODUCER, *words], env=environment(url), capture_output=True, text=True, check=False
        )
    finally:
        worker.kill()
        worker.wait()

    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_a_database_that_the_server_does_not_have_is_the_servers_own_word(port):
    url = f"redis://:{quote(PASSWORD, safe='')}@localhost:{port}/99"
    done = subprocess.run(
        [*PRODUCER, "status"], env=environment(url), capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "DB index is out of range" in done.stderr
    assert "password" not in done.stderr

"""A Redis that speaks TLS alone: broker, results, the library and Flower."""

import json
import secrets
import time
import urllib.request
import uuid

import pytest
import redis
import trustme

from shared.pools import PoolKind
from tests.stack.conftest import REDIS_IMAGE, local_workers, producer, run
from tests.support import free_port, patient, wait_until

PASSWORD = secrets.token_hex(16)
CONFIG = f"""
port 0
tls-port 6379
tls-cert-file /tls/redis.pem
tls-key-file /tls/redis.key
tls-ca-cert-file /tls/ca.pem
tls-auth-clients no
requirepass {PASSWORD}
save ""
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with a certificate for 127.0.0.1, its authority, and another authority."""
    folder = tmp_path_factory.mktemp("tls")
    mine, other = trustme.CA(), trustme.CA()
    certificate = mine.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "redis.key")
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(folder / "redis.pem", append=number > 0)
    mine.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other.pem")
    (folder / "redis.conf").write_text(CONFIG)
    folder.chmod(0o755)  # Redis runs as a user of its own
    return folder


@pytest.fixture(scope="module")
def url(authority):
    """Where a Redis with TLS listens."""
    port, name = free_port(), f"day-six-tls-{uuid.uuid4().hex[:8]}"
    # Copied, not mounted: the Engine may be on another machine.
    create = ["create", "--name", name, "--publish", f"127.0.0.1:{port}:6379"]
    run("docker", *create, "--tmpfs", "/data", REDIS_IMAGE, "redis-server", "/tls/redis.conf")
    try:
        run("docker", "cp", f"{authority}/.", f"{name}:/tls")
        run("docker", "start", name)
        found = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={authority}/ca.pem"
        client = redis.Redis.from_url(found)

        def answers():
            try:
                return client.ping()
            except redis.ConnectionError:
                return False

        wait_until(answers, within_s=20, what="Redis answers")
        yield found
    finally:
        run("docker", "rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def workers(url, tmp_path_factory):
    """A worker of each kind, and Flower; Flower's port."""
    port = free_port()
    flower = ("flower", "--address=127.0.0.1", f"--port={port}")
    with local_workers(url, tmp_path_factory.mktemp("logs"), flower):
        yield port


@pytest.mark.parametrize("pool", [kind.value for kind in PoolKind])
def test_tasks_and_their_results_travel_by_tls(url, workers, pool):
    sent = producer(url, "send", "primes", "100", "--pool", pool, "--wait", "--json")

    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["result"] == 25


def test_the_library_travels_by_tls(url, workers):
    began = time.monotonic()
    done = producer(url, "run", "examples/s2_pool.py")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("count: ") == 20
    assert time.monotonic() - began < patient(60)


def test_flower_sees_the_workers_by_tls(workers):
    def online():
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{workers}/metrics", timeout=patient(5)
            ) as page:
                return page.read().decode().count("flower_worker_online{") == len(PoolKind)
        except OSError:
            return False

    wait_until(online, within_s=60, what="Flower shows three workers")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("/ca.pem", "/other.pem"), "certificate"),
        (("/ca.pem", "/none.pem"), "ssl_ca_certs is no file"),
        (("?ssl_ca_certs", "?not_ssl"), "not_ssl"),
        (("rediss:", "redis:"), "rediss://"),
        ((PASSWORD, "wrong"), "password"),
    ],
)
def test_a_wrong_authority_password_or_no_tls_is_one_clear_line(url, changed, said):
    began = time.monotonic()
    done = producer(url.replace(*changed), "status")

    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert PASSWORD not in done.stderr
    assert time.monotonic() - began < patient(20)

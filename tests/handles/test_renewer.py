"""The renewer's way to Redis: the same users, databases and sockets as everybody's."""

import contextlib
import socket
import ssl
import threading

import pytest
import trustme
from hiredis import pack_command

from shared.broker import renewer, renewing
from tests.conftest import forget_settings
from tests.support import RedisServer

PASSWORD = "p#/?%"


@pytest.fixture
def server(tmp_path):
    socket = tmp_path / "redis.sock"
    user = "user worker on >p#/?% ~* &* +@all\nuser default off"
    config = f"unixsocket {socket}\n{user}"
    with RedisServer(config=config, user="worker", password=PASSWORD) as running:
        running.socket = socket
        yield running


@pytest.fixture
def environment(monkeypatch):
    def change(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_settings()

    yield change
    monkeypatch.undo()
    forget_settings()


def ask(*command):
    """Whether a renewer that was told what this process would tell does a command."""
    words = renewer.parse(renewing._pack(renewing._introduction()), 0)[0]
    connection = renewer.Redis(words[2:])
    try:
        return connection.ask(pack_command(command), 1)
    finally:
        connection.close()


def test_a_user_a_database_and_a_password_in_a_file(server, environment, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    url = f"redis://worker@127.0.0.1:{server.port}/3"
    environment(REDIS_URL=url, REDIS_PASSWORD_FILE=str(file))

    assert ask("SET", "here", "yes")
    assert server.client.info("keyspace")["db3"]["keys"] == 1


def test_a_socket_file(server):
    greeting = pack_command(("AUTH", "worker", PASSWORD))
    connection = renewer.Redis([b"", b"0", str(server.socket).encode(), b"5", greeting, b"1"])

    assert connection.ask(pack_command(("PING",)), 1)
    connection.close()


def test_a_wrong_password_is_as_good_as_no_redis(server, environment):
    environment(REDIS_URL=f"redis://worker:wrong@127.0.0.1:{server.port}/0")

    with pytest.raises(OSError, match="does not let us in"):
        ask("PING")


def test_an_error_is_told_and_the_next_command_is_sent_anew(server, environment):
    environment(REDIS_URL=f"redis://worker:p%23%2F%3F%25@127.0.0.1:{server.port}/0")

    assert not ask("PEXPIRE", "only one")
    assert ask("PING")


def _pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def encrypted(server, tmp_path):
    """The port of a TLS server before Redis, and the files of its own authority and of another."""
    mine, other = trustme.CA(), trustme.CA()
    files = [tmp_path / "mine.pem", tmp_path / "other.pem"]
    for authority, file in zip((mine, other), files, strict=True):
        authority.cert_pem.write_to_path(file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    mine.issue_cert("localhost").configure_cert(context)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                plain = listening.accept()[0]
                with contextlib.suppress(ssl.SSLError):
                    ends = (
                        context.wrap_socket(plain, server_side=True),
                        socket.create_connection(("127.0.0.1", server.port)),
                    )
                    for pair in (ends, ends[::-1]):
                        threading.Thread(target=_pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], *files
        listening.shutdown(socket.SHUT_RDWR)


def test_tls_with_the_servers_own_authority_alone(server, encrypted, environment, tmp_path):
    port, mine, other = encrypted
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    url = f"rediss://worker@localhost:{port}/0?ssl_ca_certs="

    environment(REDIS_URL=f"{url}{mine}", REDIS_PASSWORD_FILE=str(file))
    assert ask("SET", "encrypted", "yes")
    assert server.client.get("encrypted")

    environment(REDIS_URL=f"{url}{other}")
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        ask("PING")

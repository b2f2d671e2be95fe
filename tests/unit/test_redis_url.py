"""One address of Redis has one meaning: for redis-py, kombu, Celery's results and Flower."""

import pytest
import redis
from celery import Celery
from celery.backends.redis import RedisBackend
from flower.utils import broker as flower
from hypothesis import given
from hypothesis import strategies as st

from shared import settings
from shared.app import Connection, configuration
from shared.errors import SettingsError

# What is written → user, password, host, port, database.
ACCEPTED = {
    "redis://localhost:6379/0": (None, None, "localhost", 6379, 0),
    "redis://localhost": (None, None, "localhost", 6379, 0),
    "redis://localhost/": (None, None, "localhost", 6379, 0),
    "redis://localhost:/4/": (None, None, "localhost", 6379, 4),
    "redis://localhost:6380/04": (None, None, "localhost", 6380, 4),
    "  redis://localhost:6379/0\n": (None, None, "localhost", 6379, 0),
    "REDIS://localhost:6379/99": (None, None, "localhost", 6379, 99),
    "Redis://LocalHost:6379/0": (None, None, "localhost", 6379, 0),
    "redis://worker@redis:6379/0": ("worker", None, "redis", 6379, 0),
    "redis://worker:@redis:6379/0": ("worker", None, "redis", 6379, 0),
    "redis://:word@redis/0": (None, "word", "redis", 6379, 0),
    "redis://:a:b@c@redis/0": (None, "a:b@c", "redis", 6379, 0),
    "redis://:100%@redis/0": (None, "100%", "redis", 6379, 0),
    "redis://:%2F%23%3F%40%3A%25%5B%5D%20%3B@redis/0": (None, "/#?@:%[] ;", "redis", 6379, 0),
    "redis://:a;b,c@redis/0": (None, "a;b,c", "redis", 6379, 0),
    "redis://m%C3%BC:\N{SNOWMAN}@redis/0": (
        "m\N{LATIN SMALL LETTER U WITH DIAERESIS}",
        "\N{SNOWMAN}",
        "redis",
        6379,
        0,
    ),
    "redis://[::1]:6380/2": (None, None, "::1", 6380, 2),
    "redis://:p@[2001:db8::7]/2": (None, "p", "2001:db8::7", 6379, 2),
    "rediss://:p@redis:6380/1?ssl_cert_reqs=CERT_NONE": (None, "p", "redis", 6380, 1),
    "RedisS://redis:6380/1?ssl_check_hostname=False": (None, None, "redis", 6380, 1),
    "rediss://redis/0?ssl_ca_certs=/dev/../etc/hostname": (None, None, "redis", 6379, 0),
}
REFUSED = {
    "localhost": "should look like",
    "localhost:6379": "should look like",
    "http://localhost:6379/0": "should look like",
    "redis:localhost": "should look like",
    "redis:///0": "should look like",
    "redis://:6379/0": "should look like",
    "redis://localhost:0/0": "should look like",
    "redis://localhost:65536/0": "should look like",
    "redis://localhost:six/0": "should look like",
    "redis://[::1:6379/0": "should look like",
    "redis://a:6379/0;redis://b:6379/0": "number of a database",
    "redis://a:6379,b:6379/0": "should look like",
    "redis://h%41st/0": "should look like",
    "redis://localhost:6379/zero": "number of a database",
    "redis://localhost:6379/-1": "number of a database",
    "redis://localhost:6379/0/1": "number of a database",
    "redis://localhost:6379//0": "number of a database",
    "redis://localhost:6379/\N{ARABIC-INDIC DIGIT THREE}": "number of a database",
    "redis://localhost:6379/" + "9" * 5000: "number of a database",
    "redis://localhost:6379/0#x": "number of a database",
    "redis://local host/0": "a space",
    "redis://local\thost/0": "a space",
    "redis://:to\x1bp@localhost/0": "a space or a control character",
    "unix:///run/redis.sock": "names no host",
    "unix:///run/redis.sock?db=1": "names no host",
    "UNIX:///run/redis.sock": "names no host",
    "redis+socket:///run/redis.sock": "names no host",
    "socket:///run/redis.sock": "names no host",
    "redis+sentinel://localhost/0": "names no host",
    "sentinel://localhost:26379/0": "names no host",
    "redis://localhost/0?socket_timeout=5": "REDIS_TIMEOUT_S",
    "redis://localhost/0?socket_connect_timeout=5": "REDIS_TIMEOUT_S",
    "redis://localhost/0?db=4": "behind the address",
    "redis://localhost?virtual_host=4": "do not take",
    "redis://localhost/0?max_connections=5": "GEVENT_CONCURRENCY",
    "redis://localhost/0?password=x": "REDIS_PASSWORD_FILE",
    "redis://localhost/0?health_check_interval=1": "do not take",
    "redis://localhost/0?decode_responses=true": "do not take",
    "redis://localhost/0?protocol=2": "do not take",
    "redis://localhost/0?x": "do not take",
    "redis://localhost/0?ssl_cert_reqs=none": "rediss:// only",
    "rediss://localhost/0?ssl_cert_reqs=perhaps": "ssl_cert_reqs",
    "rediss://localhost/0?ssl_cert_reqs=none&ssl_cert_reqs=required": "twice",
    "rediss://localhost/0?ssl_check_hostname=perhaps": "ssl_check_hostname",
    "rediss://localhost/0?ssl_ca_certs=": "without a value",
    "rediss://localhost/0?ssl_ca_certs=/no/such/file": "is no file",
    "rediss://localhost/0?ssl_min_version=771": "do not take",
}
# One of these stands in a password as it is.
SPECIAL = "/#?[] \N{ACCOUNT OF}"


def read(monkeypatch, url):
    monkeypatch.setenv("REDIS_URL", url)
    settings.current.cache_clear()
    return settings.current()


@pytest.mark.parametrize("url", ACCEPTED)
def test_everybody_who_connects_reads_the_same_out_of_an_address(monkeypatch, url):
    address = read(monkeypatch, url).broker_url
    configured = configuration()

    ours = redis.connection.parse_url(address)
    broker = Connection(address, ssl=configured["broker_use_ssl"])
    app = Celery(set_as_current=False)
    app.conf.redis_backend_use_ssl = configured["redis_backend_use_ssl"]
    results = RedisBackend(app=app, url=address).connparams
    pages = flower.Broker(address, broker_use_ssl=configured["broker_use_ssl"])

    found = [
        tuple(ours.get(name) for name in ("username", "password", "host", "port", "db")),
        (broker.userid, broker.password, broker.hostname, broker.port, int(broker.virtual_host)),
        tuple(results.get(name) for name in ("username", "password", "host", "port", "db")),
        (pages.username or None, pages.password or None, pages.host, pages.port, pages.vhost),
    ]
    user, password, host, port, db = ACCEPTED[url]
    for one in found:
        assert one[:3] == (user, password, host)
        assert (one[3] or 6379) == port
        assert one[4] == db
    is_tls = url.lower().startswith("rediss")
    assert (ours.get("connection_class") is redis.SSLConnection) == is_tls
    assert (results.get("connection_class") is redis.SSLConnection) == is_tls
    assert bool(broker.ssl) == is_tls


@pytest.mark.parametrize("url", REFUSED)
def test_what_one_of_them_would_not_take_is_refused_for_all_in_one_line(monkeypatch, url):
    with pytest.raises(SettingsError) as refused:
        read(monkeypatch, url)

    line = str(refused.value)
    assert line.startswith("REDIS_URL: ")
    assert REFUSED[url] in line
    assert line.isprintable()


@pytest.mark.parametrize("char", SPECIAL)
@pytest.mark.parametrize("place", ["redis://:ab{}12@host:6379/0", "redis://us{}12:x@host/0"])
def test_an_unquoted_character_in_a_password_means_itself_or_the_line_says_how_to_quote(
    monkeypatch, char, place
):
    found, line = reading(monkeypatch, place.format(char))

    if found is None:
        assert "%2F %23 %3F %40" in line
        assert "REDIS_PASSWORD_FILE" in line
        assert "ab" not in line.removeprefix("REDIS_URL: ").split(";")[0]
    else:
        assert char in found.get("password", "") + found.get("username", "")
        assert found["host"] == "host"


def reading(monkeypatch, url):
    """What redis-py reads out of an address, or the line that refuses it."""
    try:
        return redis.connection.parse_url(read(monkeypatch, url).broker_url), ""
    except SettingsError as refused:
        return None, str(refused)


@given(st.text(max_size=40).map("redis://{}".format) | st.text(max_size=40))
def test_any_text_is_an_address_that_all_read_alike_or_one_line(text):
    try:
        address = settings.Settings(redis_url=text).broker_url
    except ValueError:
        return

    ours, broker = redis.connection.parse_url(address), Connection(address)
    assert (ours["host"], ours.get("port") or 6379) == (broker.hostname, broker.port or 6379)
    assert ours["db"] == int(broker.virtual_host)
    assert (ours.get("username"), ours.get("password")) == (broker.userid, broker.password)

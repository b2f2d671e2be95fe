"""Celery's settings, made from ours."""

import pytest

from shared import app, settings
from shared.errors import DaySixError


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("redis://localhost:6379/0", None),
        ("rediss://localhost:6379/0", {"ssl_cert_reqs": "required"}),
    ],
)
def test_tls_checks_the_servers_certificate_on_both_connections(monkeypatch, url, tls):
    monkeypatch.setenv("REDIS_URL", url)
    settings.current.cache_clear()

    configuration = app.configuration()

    assert configuration["broker_use_ssl"] == tls
    assert configuration["redis_backend_use_ssl"] == tls


def test_a_lost_broker_is_looked_for_every_two_seconds(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        app.kombu.Connection, "ensure_connection", lambda self, **kwargs: asked.update(kwargs)
    )

    app.Connection("memory://").ensure_connection()

    assert asked["interval_max"] == 2.0


def test_a_prefix_of_all_keys_is_refused_wherever_a_connection_is_made():
    connection = app.Connection("redis://", transport_options={"global_keyprefix": "mine:"})

    for one in (connection.ensure_connection, connection.clone, connection.as_uri):
        with pytest.raises(DaySixError, match="global_keyprefix is not supported"):
            one()

"""The environment becomes settings, or one line that says which variable is wrong."""

import traceback

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.pools import PoolKind
from shared.settings import Settings, read_settings


def test_every_setting_has_a_default_that_works_on_a_laptop(monkeypatch):
    monkeypatch.delenv("TASK_MODULES")

    settings = read_settings()

    assert settings.redis_address == "localhost:6379"
    assert settings.allowed_modules == ("examples",)
    assert settings.concurrency(PoolKind.PREFORK) >= 8
    assert settings.concurrency(PoolKind.THREADS) == 16
    assert settings.concurrency(PoolKind.GEVENT) == 200


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("THREADS_CONCURRENCY", "")

    assert read_settings().threads_concurrency == 16


def test_settings_cannot_be_changed_afterwards():
    settings = read_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.output = "off"


NUMBERS = [
    name.upper()
    for name, field in Settings.model_fields.items()
    if field.annotation in (int, float)
]


@pytest.mark.parametrize("variable", NUMBERS)
@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e999", "1,5"])
def test_a_number_that_does_not_fit_is_one_line_that_names_variable_and_value(
    monkeypatch, variable, value
):
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as refused:
        read_settings()

    text = str(refused.value)
    assert text.startswith(f"{variable}={value!r}: ")
    assert "number" in text or "integer" in text or "greater than 0" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("OUTPUT", "loud", "'off', 'lines' or 'prefixed'"),
        ("TASK_MODULES", "examples;os", "'examples;os'"),
        ("TASK_MODULES", "examples,my tasks", "'my tasks'"),
        ("TASK_MODULES", "examples/s2_pool.py", "no module name"),
        ("TASK_MODULES", "examples.", "no module name"),
    ],
)
def test_a_word_that_does_not_fit_is_one_line_with_what_would(monkeypatch, variable, value, hint):
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as refused:
        read_settings()

    text = str(refused.value)
    assert text.startswith(f"{variable}={value!r}: ")
    assert hint in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "url",
    [
        "topsecret",
        "http://:topsecret@host:6379/0",
        "redis://:topsecret@",
        "redis://:topsecret@host:port/0",
        "redis://:topsecret@host:99999/0",
        "redis://:topsecret@host:0/0",
        "redis://:topsecret@host:6379/zero",
        "redis://:topsecret@[::1/0",
        "redis://:top/topsecret@host/0",
        "redis://:top#topsecret@host/0",
        "redis://:top?topsecret@host/0",
        "redis://:topsecret@host/0?nonsense=1",
        "redis://:topsecret@host/0?ssl_ca_certs=ca.pem",
        "redis://:topsecret@host/0?socket_timeout=topsecret",
        "rediss://:topsecret@host/0?ssl_cert_reqs=perhaps",
        "rediss://:topsecret@host/0?ssl_ca_certs=/no/such/file",
        "unix:///topsecret",
    ],
)
def test_a_wrong_redis_url_is_one_line_that_never_shows_it(monkeypatch, url):
    monkeypatch.setenv("REDIS_URL", url)

    with pytest.raises(SettingsError) as refused:
        read_settings()

    shown = "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    assert str(refused.value).startswith("REDIS_URL: ")
    assert "\n" not in str(refused.value)
    assert "topsecret" not in shown


def test_a_password_stands_in_no_repr_or_address(monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("alsosecret")
    monkeypatch.setenv("REDIS_URL", "redis://user:topsecret@host:6380/1")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))

    settings = read_settings()

    shown = f"{settings!r} {settings} {settings.redis_address}"
    assert "secret" not in shown
    assert settings.redis_address == "host:6380"


@pytest.mark.parametrize("url", ["redis://h/0", "redis://:old@h/0", "redis://:o%40ld@h:1/0"])
def test_the_password_of_the_file_takes_the_place_of_the_urls(monkeypatch, tmp_path, url):
    file = tmp_path / "password"
    file.write_text("new\n")
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))

    broker_url = read_settings().broker_url

    assert redis.connection.parse_url(broker_url)["password"] == "new"
    assert redis.connection.parse_url(broker_url)["host"] == "h"
    assert "old" not in broker_url


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1)
)
def test_any_password_of_a_file_reaches_redis_as_it_stands_there(tmp_path_factory, password):
    file = tmp_path_factory.mktemp("secret") / "password"
    file.write_text(password + "\n", encoding="utf-8")
    settings = Settings(redis_url="redis://:x@host:1234/5", redis_password_file=file)

    given_to_redis = redis.connection.parse_url(settings.broker_url)

    assert given_to_redis["password"] == password
    assert given_to_redis["host"] == "host"
    assert given_to_redis["port"] == 1234
    assert given_to_redis["db"] == 5


def test_a_user_name_with_special_characters_stays_the_same_beside_a_password_file(
    monkeypatch, tmp_path
):
    file = tmp_path / "password"
    file.write_text("p")
    monkeypatch.setenv("REDIS_URL", "redis://me%40home@host/0")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))

    broker_url = read_settings().broker_url

    assert redis.connection.parse_url(broker_url)["username"] == "me@home"


def test_the_options_of_a_url_stay_beside_a_password_file(monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("p")
    monkeypatch.setenv("REDIS_URL", "rediss://host:1/0?ssl_cert_reqs=required")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))

    assert read_settings().broker_url == "rediss://:p@host:1/0?ssl_cert_reqs=required"


@pytest.mark.parametrize("trouble", ["missing", "a folder", "not text", "empty"])
def test_a_password_file_that_holds_none_is_one_line_that_names_it(monkeypatch, tmp_path, trouble):
    file = tmp_path / "password"
    match trouble:
        case "a folder":
            file.mkdir()
        case "not text":
            file.write_bytes(b"\xff\xfe\x00")
        case "empty":
            file.write_text("\n")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))
    settings = read_settings()

    with pytest.raises(SettingsError) as refused:
        settings.broker_url  # noqa: B018 - reading it reads the file

    text = str(refused.value)
    assert text.startswith(f"REDIS_PASSWORD_FILE='{file}'")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("examples", ("examples",)),
        (" examples , mine.tasks ", ("examples", "mine.tasks")),
        ("examples,,mine,", ("examples", "mine")),
        (",", ()),
    ],
)
def test_the_allow_list_is_split_at_its_commas(monkeypatch, text, modules):
    monkeypatch.setenv("TASK_MODULES", text)

    assert read_settings().allowed_modules == modules


def test_an_ipv6_address_can_be_read_in_what_is_printed(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://[::1]:6380/0")

    assert read_settings().redis_address == "[::1]:6380"

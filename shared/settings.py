"""The environment, read once, checked, and handed down as one frozen object."""

import os
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import SettingsError
from shared.pools import PoolKind

_ADDRESS = "redis://[user:password@]host:6379/0"
_QUOTING = (
    "in a user or password, write / # ? @ : % [ ] and spaces as "
    "%2F %23 %3F %40 %3A %25 %5B %5D %20, or put the password into REDIS_PASSWORD_FILE"
)
# Which options an address may have: what redis-py, kombu and Celery all read in the same way.
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = (*_TLS_FILES, "ssl_ca_path", "ssl_password", "ssl_ciphers")
_CERTIFICATES = ("required", "optional", "none")
_INSTEAD = {
    "db": "write the number of the database behind the address, such as /4",
    "socket_timeout": "set REDIS_TIMEOUT_S",
    "socket_connect_timeout": "set REDIS_TIMEOUT_S",
    "timeout": "set REDIS_TIMEOUT_S",
    "max_connections": "set GEVENT_CONCURRENCY, from which it follows",
    "username": f"write {_ADDRESS}",
    "password": f"write {_ADDRESS}, or set REDIS_PASSWORD_FILE",
}


def _redis_url(text: str) -> str:
    """The same address in the one spelling that redis-py, kombu, Celery and Flower agree on."""
    text = text.strip()
    advice = f"; {_QUOTING}" if "@" in text else ""
    if any(char.isspace() or not (char.isprintable() or char > "\x7f") for char in text):
        raise ValueError(f"has a space or a control character{advice}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        user, password = (
            unquote(part or "", errors="strict") for part in (parts.username, parts.password)
        )
        userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    except ValueError:  # its text may hold the password
        raise ValueError(f"should look like {_ADDRESS}{advice}") from None
    if parts.scheme in ("unix", "socket") or "+" in parts.scheme or parts.scheme == "sentinel":
        raise ValueError(f"names no host: workers reach Redis by {_ADDRESS}, or rediss:// for TLS")
    behind = f"{parts.path}{parts.query}{parts.fragment}"
    if parts.scheme not in ("redis", "rediss") or port == 0 or "@" in behind:
        raise ValueError(f"should look like {_ADDRESS}{advice}")
    name = host.partition("%")[0] if ":" in host else host  # behind %, the interface of IPv6
    if not name or any(char in "%\"'<>\\^`{|};,*" for char in name):
        raise ValueError(f"should look like {_ADDRESS}{advice}")
    if parts.fragment or not re.fullmatch(r"/?|/[0-9]{1,9}/?", parts.path):
        raise ValueError(f"should end with the number of a database, such as /0{advice}")
    options = _options(parts.query, is_tls=parts.scheme == "rediss")
    return urlunsplit(
        (
            parts.scheme,
            ("" if userinfo == ":@" else userinfo.replace(":@", "@"))
            + (f"[{host}]" if ":" in host else host)
            + (f":{port}" if port else ""),
            f"/{int(parts.path.strip('/'))}" if parts.path.strip("/") else "/0",
            urlencode(options, safe="/:", quote_via=quote),
            "",
        )
    )


def _options(query: str, *, is_tls: bool) -> dict[str, str]:
    """The options of the URL, checked and spelled as redis-py, kombu and Celery read them."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in (*_TLS_OPTIONS, "ssl_cert_reqs", "ssl_check_hostname"):
            instead = _INSTEAD.get(name, f"it may have {', '.join(_TLS_OPTIONS)} and a few others")
            shown = name if name.isidentifier() else "…"
            raise ValueError(f"has the option {shown}, which workers do not take; {instead}")
        if not is_tls:
            raise ValueError(f"has the option {name}, which goes with rediss:// only")
        if not value or unquote(value) != value or name in options:
            raise ValueError(f"has the option {name} twice, without a value, or quoted twice")
        options[name] = value
    for name in _TLS_FILES:
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f"has an option that does not fit: {name} is no file")
    if "ssl_cert_reqs" in options:
        required = options["ssl_cert_reqs"].lower().removeprefix("cert_")
        if required not in _CERTIFICATES:
            raise ValueError(f"has an ssl_cert_reqs that is none of {', '.join(_CERTIFICATES)}")
        options["ssl_cert_reqs"] = required
    if "ssl_check_hostname" in options:
        checked = options["ssl_check_hostname"].lower()
        if checked not in ("true", "false"):
            raise ValueError("has an ssl_check_hostname that is neither true nor false")
        options["ssl_check_hostname"] = checked
    return options


def is_module_name(name: str) -> bool:
    """Whether a module can have this name; a script's file may be called ``x-1.py``, too."""
    return all(re.fullmatch(r"[\w-]+", part) for part in name.split("."))


def _module_names(text: str) -> str:
    for name in text.split(","):
        if name.strip() and not is_module_name(name.strip()):
            raise ValueError(f"has {name.strip()!r}, which is no module name")
    return text


def _default_prefork_concurrency() -> int:
    # The tutorial's pool of five must really be five, also on a small machine.
    return max(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 8)


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Everything the environment may change; a field's name in capitals is its variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(
        "redis://localhost:6379/0",
        repr=False,
        description="where Redis is; `rediss://` for TLS",
    )
    redis_password_file: Path | None = Field(
        None, description="a file that holds the password of `REDIS_URL`, so that no variable does"
    )
    task_modules: Annotated[str, AfterValidator(_module_names)] = Field(
        "examples",
        description="modules whose functions workers may run, comma-separated; a name allows its submodules too",
    )
    prefork_concurrency: PositiveInt = Field(
        default_factory=_default_prefork_concurrency,
        description="processes of a prefork worker",
    )
    threads_concurrency: PositiveInt = Field(16, description="threads of a threads worker")
    gevent_concurrency: PositiveInt = Field(200, description="greenlets of a gevent worker")
    queue_limit: PositiveInt = Field(
        1_000_000, description="tasks a queue may hold before the producer waits or stops"
    )
    message_limit_bytes: PositiveInt = Field(
        16 * 1024 * 1024, description="size that one encoded call or outcome may have"
    )
    output: Literal["off", "lines", "prefixed"] = Field(
        "lines",
        description="how what a task prints reaches its caller's terminal: `off`, `lines`, or `prefixed` with who printed it",
    )
    reply_lease_s: Seconds = Field(
        60.0,
        description="seconds that a silent client's reply stream stays in Redis",
    )
    handle_lease_s: Seconds = Field(
        60.0,
        description="seconds that a queue, lock or managed object stays in Redis when nobody uses it any more",
    )
    lock_lease_s: Seconds = Field(
        10.0, description="seconds after which a lock is free whose holder was killed"
    )
    result_expires_s: PositiveInt = Field(
        86_400, description="seconds that the result of an ordinary task is kept"
    )
    worker_lease_s: Seconds = Field(
        10.0,
        description="seconds after which the tasks of a worker that shows no life go back to their queues",
    )
    delivery_limit: PositiveInt = Field(
        3, description="workers that a task may lose before it becomes a dead letter"
    )
    redis_timeout_s: Seconds = Field(
        5.0,
        description="seconds that Redis may take to answer before the connection counts as lost",
    )
    redis_gone_s: Seconds = Field(
        120.0,
        description="seconds that Redis may be away before whoever waits for a result is told that it is gone",
    )
    fetch_url: str = Field(
        "http://127.0.0.1:8000/slow", description="what the `fetch` task gets when no URL is given"
    )
    fetch_allow: str = Field(
        "",
        description="URL prefixes that `fetch` may get besides `FETCH_URL`, comma-separated",
    )
    health_file: Path | None = Field(
        None, description="file that a worker touches while it consumes and Redis answers"
    )
    health_interval_s: Seconds = Field(
        5.0, description="seconds between two touches of `HEALTH_FILE`"
    )
    flower_user: str = Field("flower", description="login name of Flower")
    flower_password_file: Path | None = Field(
        None, description="a file that holds Flower's password; without it Flower asks for none"
    )
    flower_state_file: Path | None = Field(
        None, description="file in which Flower keeps its history; without it, in memory"
    )

    @cached_property
    def allowed_modules(self) -> tuple[str, ...]:
        """The names in ``TASK_MODULES``."""
        return tuple(name.strip() for name in self.task_modules.split(",") if name.strip())

    @property
    def broker_url(self) -> str:
        """``REDIS_URL`` with the password from ``REDIS_PASSWORD_FILE``; never print it."""
        if self.redis_password_file is None:
            return self.redis_url
        password = read_secret("REDIS_PASSWORD_FILE", self.redis_password_file)
        parts = urlsplit(self.redis_url)
        user = parts.username or ""  # as it stands in the URL, quoted already
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))

    @property
    def redis_address(self) -> str:
        """Host and port of Redis, fit for printing."""
        parts = urlsplit(self.redis_url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}:{parts.port or 6379}"

    def concurrency(self, kind: PoolKind) -> int:
        """The number of tasks that one worker of this kind runs at once."""
        return {
            PoolKind.PREFORK: self.prefork_concurrency,
            PoolKind.THREADS: self.threads_concurrency,
            PoolKind.GEVENT: self.gevent_concurrency,
        }[kind]


def read_secret(variable: str, path: Path) -> str:
    """The text of a secret file without its line end; `SettingsError` when it can't be read."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(
            variable, f"='{path}' cannot be read: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError:
        raise SettingsError(variable, f"='{path}' is not a text file") from None
    if not secret:
        raise SettingsError(variable, f"='{path}' is empty; put the password into it")
    return secret


def read_settings() -> Settings:
    """The settings of this environment, or `SettingsError` naming the first wrong variable."""
    try:
        return Settings()
    except ValidationError as invalid:
        error = invalid.errors()[0]
        variable = str(error["loc"][0]).upper()
        problem = error["msg"].removeprefix("Value error, ")
        problem = problem[0].lower() + problem[1:]
        # An address may hold a password: name the variable, never its value.
        value = "" if variable == "REDIS_URL" else f"={error['input']!r}"
        raise SettingsError(variable, f"{value}: {problem}") from None


@lru_cache(maxsize=1)
def current() -> Settings:
    """The settings of this process, read at the first call."""
    return read_settings()

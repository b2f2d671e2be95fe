"""The environment, read once, checked, and handed down as one frozen object."""

import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import SettingsError
from shared.pools import PoolKind


def _redis_url(text: str) -> str:
    parts = urlsplit(text)
    try:
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not port_fits:
        raise ValueError("should look like redis://[user:password@]host:6379/0")
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("should end with the number of a database, such as /0")
    if parts.query:
        _check_options(text)
    return text


def _check_options(url: str) -> None:
    """Have redis-py look at what follows the question mark, without connecting."""
    import redis.connection  # noqa: PLC0415 - for this alone

    try:
        found: Any = redis.connection.parse_url(url)
        made_by = found.pop("connection_class", redis.connection.Connection)
        found.pop("max_connections", None)
        made_by(**found)
        for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
            if option in found and not Path(found[option]).is_file():
                raise ValueError(f"{option} is no file")
    except TypeError as error:
        # Redis-py names it, and nothing else of the URL.
        unknown = str(error).rpartition(" ")[2]
        raise ValueError(
            f"has the option {unknown}, which does not exist, or goes with rediss:// only"
        ) from None
    except (ValueError, redis.RedisError) as error:
        raise ValueError(f"has an option that does not fit: {error}") from None


def _module_names(text: str) -> str:
    for name in text.split(","):
        if name.strip() and not all(part.isidentifier() for part in name.strip().split(".")):
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
        """How many tasks one worker of this kind runs at once."""
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

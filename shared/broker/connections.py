"""The project's own Redis client, beside kombu's: for replies, queue lengths and publishing."""

import contextlib
import hashlib
import math
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import redis
from hiredis import pack_command
from kombu.log import get_logger
from redis import exceptions as redis_exceptions
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from shared.broker.answers import NoRoom, NotNow, Parser
from shared.errors import (
    BrokerBusy,
    BrokerFull,
    BrokerGone,
    BrokerRefused,
    BrokerUnavailable,
    NotRedis,
)
from shared.settings import Settings, current

logger = get_logger(__name__)

REFUSALS = (redis.AuthenticationError, redis_exceptions.NoPermissionError)
# Errors that mean: Redis cannot be reached, does not answer, or answers "not now".
AWAY = (redis.ConnectionError, redis.TimeoutError)


def keepalive(settings: Settings) -> dict[int, int]:
    """Socket options that let the operating system notice a cut network on an idle connection.

    The system notices after about twice `redis_timeout_s`. Options that this system does not have
    are left out.
    """
    seconds = max(1, round(settings.redis_timeout_s))
    options = {
        "TCP_KEEPIDLE": seconds,
        "TCP_KEEPINTVL": max(1, seconds // 3),
        "TCP_KEEPCNT": 3,
        # In milliseconds; applies to data that was sent and not confirmed.
        "TCP_USER_TIMEOUT": 2000 * seconds,
    }
    return {getattr(socket, key): value for key, value in options.items() if hasattr(socket, key)}


# How many connections a process may open. A process needs one for each concurrent task and a few
# more. Connections are opened only when needed. A smaller limit would fail tasks of a large pool.
MAX_CONNECTIONS = 100_000


class Pool(redis.ConnectionPool):
    """redis-py's connection pool, with a list of spare connections that `ask` borrows cheaply."""

    def reset(self) -> None:
        """Forget all connections; redis-py calls this in a forked child."""
        # A thread of the parent may have held the lock during the fork. Without a new lock, the
        # child would wait for ever.
        self._lock = threading.RLock()
        super().reset()
        self._spare: deque[Any] = deque()

    def borrow(self) -> Any:
        """A connection for one caller, which must pass it to `give_back` even after an error."""
        self._checkpid()
        try:
            connection = self._spare.pop()
        except IndexError:
            return self.connection_class(**self.connection_kwargs)
        try:
            is_used_up = connection.is_connected and connection.can_read(timeout=0)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            is_used_up = True  # Redis has closed the connection meanwhile
        if is_used_up:
            connection.disconnect()
        return connection

    def give_back(self, connection: Any) -> None:
        """Keep a borrowed connection for the next caller."""
        self._spare.append(connection)

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close all connections, borrowed ones too."""
        super().disconnect(*args, **kwargs)
        for connection in list(self._spare):
            connection.disconnect()


class Attempts(Retry):
    """redis-py's retries, with a time limit for all of them.

    redis-py nests its retries three deep. This class starts no retry after `within_s`, so a
    dropped connection is retried several times and a timeout only once. A refusal and an unknown
    script are never retried: the caller has to send an unknown script with its text.
    """

    within_s = 0.0

    def call_with_retry(self, do: Any, fail: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the result of `do`. `fail` is called with each error."""
        until = time.monotonic() + self.within_s

        def note(error: Exception, *count: int) -> None:
            fail(error, *count)
            final = isinstance(error, (*REFUSALS, redis_exceptions.NoScriptError))
            if final or time.monotonic() > until:
                raise error

        return super().call_with_retry(do, note, *args, **kwargs)


def connect(
    settings: Settings, *, answer_within_s: float | None = None, **options: Any
) -> redis.Redis:
    """A client for Redis. It connects at its first command and retries after a dropped connection.

    Further options go to redis-py's connections.
    """
    timeout_s = answer_within_s or settings.redis_timeout_s
    attempts = Attempts(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 3)
    attempts.within_s = 1.5 * timeout_s
    pool = Pool.from_url(
        settings.broker_url,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(settings.redis_timeout_s, 2.0),
        socket_keepalive=True,
        socket_keepalive_options=keepalive(settings),
        health_check_interval=25,
        retry=attempts,
        parser_class=Parser,
        max_connections=MAX_CONNECTIONS,
        **options,
    )
    return redis.Redis.from_pool(pool)


@lru_cache(maxsize=1)
def store() -> redis.Redis:
    """This process's client, which all its threads share. After a fork redis-py reconnects."""
    return connect(current())


def ask(client: redis.Redis, *command: Any) -> Any:
    """Send one command and return Redis' raw answer, at half the cost of redis-py's own method.

    Never retries. If the command must not run twice, do not repeat it after an error.
    """
    pool: Any = client.connection_pool
    connection = pool.borrow()
    try:
        connection.send_packed_command([pack_command(command)])
        return connection.read_response()
    except redis.ResponseError:
        raise
    except BaseException:
        # Also after KeyboardInterrupt: the answer is still to come, and the next borrower must not
        # read it.
        connection.disconnect()
        raise
    finally:
        pool.give_back(connection)


class Lua:
    """A Lua script that Redis runs by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def ask(self, client: redis.Redis, *parameters: Any) -> Any:
        """Run the script without retries, as `ask`. Sends the text if Redis does not know it."""
        try:
            return ask(client, "EVALSHA", self.sha, *parameters)
        except redis_exceptions.NoScriptError:
            return ask(client, "EVAL", self.text, *parameters)

    def call(self, client: redis.Redis, *parameters: Any) -> Any:
        """Run the script by redis-py's own method, with its retries."""
        try:
            return client.evalsha(self.sha, *parameters)
        except redis_exceptions.NoScriptError:
            return client.eval(self.text, *parameters)

    def add(self, pipe: Any, *parameters: Any) -> None:
        """The same as a command of a pipeline, always with the text: nobody could send it again."""
        pipe.eval(self.text, *parameters)


@contextmanager
def foreseen(settings: Settings | None = None) -> Iterator[None]:
    """Turn redis-py's errors about an unavailable Redis into one of ours, with one line.

    Raises `BrokerUnavailable`, `BrokerRefused`, `BrokerBusy`, `BrokerFull` or `NotRedis`.
    """
    try:
        yield
    except REFUSALS as error:
        address = (settings or current()).redis_address
        advice = "check the user and password of REDIS_URL"
        raise BrokerRefused(address, first_line(error), advice) from error
    except NotNow as error:
        address = (settings or current()).redis_address
        kind = BrokerFull if isinstance(error, NoRoom) else BrokerBusy
        raise kind(address, re.split(r"\.? script:", first_line(error))[0]) from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        address = (settings or current()).redis_address
        raise BrokerUnavailable(address, first_line(error)) from error
    except redis.InvalidResponse as error:
        address = (settings or current()).redis_address
        raise NotRedis(address, first_line(error)) from error
    except redis.ResponseError as error:
        # Show Redis' own first line.
        address = (settings or current()).redis_address
        reason = first_line(error)
        advice = "check the number at the end of REDIS_URL" if "DB index" in reason else ""
        raise BrokerRefused(address, reason, advice) from error


# The pauses between attempts while Redis is unavailable.
SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class Absence:
    """The retry pauses of one waiting thread while Redis is unavailable."""

    def __init__(
        self,
        waiter: str,
        *,
        patience_s: float = math.inf,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        """`waiter` is the name of the waiting part in the log. `sleep` may return early."""
        self._waiter = waiter
        self._patience_s = patience_s
        self._sleep = sleep
        self.end()

    def end(self) -> None:
        """Start afresh: Redis has answered."""
        self._since = math.inf
        self._pause_s = SHORTEST_PAUSE_S

    def wait(self, error: Exception) -> None:
        """Pause after a failed attempt, each time longer, up to `LONGEST_PAUSE_S`.

        Raises `BrokerGone` if Redis has been unavailable for `patience_s`.
        """
        now = time.monotonic()
        if self._since == math.inf:
            self._since = now
            logger.warning("%s waits for Redis: %s", self._waiter, _reason(error))
        if now - self._since >= self._patience_s:
            away = f"for {now - self._since:.0f} s now: {_reason(error)}"
            raise BrokerGone(current().redis_address, away) from error
        self._sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


_Answer = TypeVar("_Answer")


def until_back(do: Callable[[], _Answer], waiter: str, *, refused_too: bool = False) -> _Answer:
    """Call `do` until Redis is available, and return its result.

    Raises if Redis refuses the command; with `refused_too`, a refusal is retried as well.
    """
    absence = Absence(waiter)
    while True:
        try:
            return do()
        except redis.RedisError as error:
            is_away = isinstance(error, AWAY) and not isinstance(error, REFUSALS)
            if not (is_away or refused_too):
                raise
            absence.wait(error)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, BrokerUnavailable) else first_line(error)


# Redis' own messages are long, and name protocol commands instead of the remedy.
_PLAINLY = {
    "HELLO must be called with the client already authenticated": (
        "it wants a password; put it into REDIS_URL or REDIS_PASSWORD_FILE"
    ),
    "Authentication required": (
        "Authentication required: it wants a password; put it into REDIS_URL or REDIS_PASSWORD_FILE"
    ),
    "called without any password configured": (
        "it has no password, and one was given; take it out of REDIS_URL or REDIS_PASSWORD_FILE"
    ),
}


def first_line(error: Exception) -> str:
    """An error of redis-py as one plain line."""
    line = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return next((plain for part, plain in _PLAINLY.items() if part in line), line)


def eviction(settings: Settings, client: redis.Redis) -> str:
    """A warning if Redis may evict keys; an empty text if it may not, or does not tell."""
    policy: Any = None
    for ask_it in (lambda: client.info("memory"), lambda: client.config_get("maxmemory-policy")):
        # Some users may not run these commands, and some servers know only one of them.
        with contextlib.suppress(redis.ResponseError):
            found: Any = ask_it()
            policy = found.get("maxmemory_policy") or found.get("maxmemory-policy")
        if policy:
            break
    if policy in (None, "noeviction"):
        return ""
    return (
        f"Redis at {settings.redis_address} may evict keys (maxmemory-policy {policy}), "
        "and tasks and results with them; set its maxmemory-policy to noeviction"
    )

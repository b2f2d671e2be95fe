"""Our own connection to Redis, beside kombu's: replies, queue lengths, publishing."""

import hashlib
import re
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import redis
from hiredis import pack_command
from redis import exceptions as redis_exceptions
from redis._parsers.base import BaseParser
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from shared.errors import BrokerFull, BrokerGone, BrokerRefused, BrokerUnavailable, NotRedis
from shared.settings import Settings, current


class TakesNoWrites(redis.ConnectionError, redis.ResponseError):
    """Raised while Redis cannot write its file: its disk is full, or fails."""


class TakesNoMore(redis_exceptions.OutOfMemoryError, redis.ConnectionError):
    """Raised while Redis has no memory left."""


# Such a Redis is as good as away, as one that is still loading is for redis-py itself: whoever
# waits for a connection (kombu, Celery's backend, redis-py, we) waits for this to end, too.
BaseParser.EXCEPTION_CLASSES.update(MISCONF=TakesNoWrites, OOM=TakesNoMore)

REFUSALS = (redis.AuthenticationError, redis_exceptions.NoPermissionError)


def keepalive(settings: Settings) -> dict[int, int]:
    """Socket options with which the system notices a cut network, also on a silent connection.

    It takes about twice `redis_timeout_s`. What a system does not know is left out.
    """
    seconds = max(1, round(settings.redis_timeout_s))
    options = {
        "TCP_KEEPIDLE": seconds,
        "TCP_KEEPINTVL": max(1, seconds // 3),
        "TCP_KEEPCNT": 3,
        # Milliseconds; for what was sent and not confirmed.
        "TCP_USER_TIMEOUT": 2000 * seconds,
    }
    return {getattr(socket, key): value for key, value in options.items() if hasattr(socket, key)}


def connections(size: int) -> int:
    """How many connections a process needs that runs so many tasks at once, and some of its own."""
    return size + 50


class Pool(redis.ConnectionPool):
    """redis-py's, and some connections beside it for `ask`: to get one of those costs little."""

    def reset(self) -> None:
        """Start anew, as in a forked child: the connections are its parent's."""
        super().reset()
        self._spare: deque[Any] = deque()

    def borrow(self) -> Any:
        """A connection that is to be given back, whatever happens to it."""
        self._checkpid()
        try:
            connection = self._spare.pop()
        except IndexError:
            return self.connection_class(**self.connection_kwargs)
        try:
            is_used_up = connection.is_connected and connection.can_read(timeout=0)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            is_used_up = True  # Redis has closed it meanwhile
        if is_used_up:
            connection.disconnect()
        return connection

    def give_back(self, connection: Any) -> None:
        """The next one gets this."""
        self._spare.append(connection)

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close all."""
        super().disconnect(*args, **kwargs)
        for connection in list(self._spare):
            connection.disconnect()


class Attempts(Retry):
    """redis-py's further attempts, none of which begins late: it nests them, three in each other.

    What is cut is so tried several times, what timed out once more.
    """

    within_s = 0.0

    def call_with_retry(self, do: Any, fail: Any, *args: Any, **kwargs: Any) -> Any:
        """What `do` returns; `fail` is told of each failure."""
        until = time.monotonic() + self.within_s

        def note(error: Exception, *count: int) -> None:
            fail(error, *count)
            if time.monotonic() > until:
                raise error

        return super().call_with_retry(do, note, *args, **kwargs)


def connect(settings: Settings, *, answer_within_s: float | None = None) -> redis.Redis:
    """A client for Redis; it connects at its first command and survives short absences."""
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
        # Every greenlet of a gevent worker may hold one while it answers.
        max_connections=connections(settings.gevent_concurrency),
    )
    return redis.Redis.from_pool(pool)


@lru_cache(maxsize=1)
def store() -> redis.Redis:
    """This process's client, shared by its threads; redis-py reconnects after a fork."""
    return connect(current())


def ask(client: redis.Redis, *command: Any) -> Any:
    """One command's answer, as Redis gives it, at half of what redis-py's own way costs.

    There is one attempt. What can only be done once must not be asked a second time elsewhere.
    """
    pool: Any = client.connection_pool
    connection = pool.borrow()
    try:
        connection.send_packed_command([pack_command(command)])
        return connection.read_response()
    except redis.ResponseError:
        raise
    except BaseException:
        # KeyboardInterrupt too: the answer is still to come, nobody else may read it.
        connection.disconnect()
        raise
    finally:
        pool.give_back(connection)


class Lua:
    """A script that Redis is asked to run, by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def ask(self, client: redis.Redis, *parameters: Any) -> Any:
        """As `ask`; the text goes along only where Redis does not know it."""
        try:
            return ask(client, "EVALSHA", self.sha, *parameters)
        except redis_exceptions.NoScriptError:
            return ask(client, "EVAL", self.text, *parameters)

    def call(self, client: redis.Redis, *parameters: Any) -> Any:
        """The same in redis-py's own way, with its further attempts."""
        try:
            return client.evalsha(self.sha, *parameters)
        except redis_exceptions.NoScriptError:
            return client.eval(self.text, *parameters)


@contextmanager
def foreseen(settings: Settings | None = None) -> Iterator[None]:
    """Turn what redis-py raises when Redis is away into one error with one line."""
    try:
        yield
    except REFUSALS as error:
        address = (settings or current()).redis_address
        advice = "check the user and password of REDIS_URL"
        raise BrokerRefused(address, first_line(error), advice) from error
    except (redis_exceptions.OutOfMemoryError, TakesNoWrites) as error:
        address = (settings or current()).redis_address
        raise BrokerFull(address, re.split(r"\.? script:", first_line(error))[0]) from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        address = (settings or current()).redis_address
        raise BrokerUnavailable(address, first_line(error)) from error
    except redis.InvalidResponse as error:
        address = (settings or current()).redis_address
        raise NotRedis(address, first_line(error)) from error
    except redis.ResponseError as error:
        # Redis' own first line says it best.
        address = (settings or current()).redis_address
        reason = first_line(error)
        advice = "check the number at the end of REDIS_URL" if "DB index" in reason else ""
        raise BrokerRefused(address, reason, advice) from error


class Absence:
    """How long Redis has been away, as one thread sees it that waits for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._since: float | None = None

    def end(self) -> None:
        """Redis has answered."""
        self._since = None

    def note(self, error: Exception) -> BrokerGone | None:
        """Note a failure; the error for all who wait, `REDIS_GONE_S` after the first one."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < self._settings.redis_gone_s:
            return None
        reason = error.reason if isinstance(error, BrokerUnavailable) else first_line(error)
        return BrokerGone(
            self._settings.redis_address, f"for {now - self._since:.0f} s now: {reason}"
        )


# Redis' own words are long, and name its protocol instead of what to do.
_PLAINLY = {
    "HELLO must be called with the client already authenticated": (
        "it wants a password; put it into REDIS_URL or REDIS_PASSWORD_FILE"
    ),
    "called without any password configured": (
        "it has no password, and one was given; take it out of REDIS_URL or REDIS_PASSWORD_FILE"
    ),
}


def first_line(error: Exception) -> str:
    """What redis-py says, in one line and plain words."""
    line = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    line = re.sub(r"^Command # \d+ \(.*\) of pipeline caused error: ", "", line)
    return next((plain for part, plain in _PLAINLY.items() if part in line), line)

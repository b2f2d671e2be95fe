"""Our own connection to Redis, beside kombu's: replies, queue lengths, publishing."""

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
# Redis cannot be reached, does not answer, or answers "not now".
AWAY = (redis.ConnectionError, redis.TimeoutError)


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


# How many connections a process may open: as many as tasks run at once, and some for itself.
# Nothing is opened ahead. A smaller number would fail tasks once a pool has grown.
MAX_CONNECTIONS = 100_000


class Pool(redis.ConnectionPool):
    """redis-py's, and some connections beside it for `ask`: to get one of those costs little."""

    def reset(self) -> None:
        """Start anew, as in a forked child: the connections are its parent's."""
        # A thread of the parent may have held the lock while another one forked. redis-py would
        # wait for that lock in the child for ever.
        self._lock = threading.RLock()
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

    What is cut is so tried several times, what timed out once more. A refusal stays one; a
    script that Redis does not know has to be sent with its text.
    """

    within_s = 0.0

    def call_with_retry(self, do: Any, fail: Any, *args: Any, **kwargs: Any) -> Any:
        """What `do` returns; `fail` is told of each failure."""
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
    """A client for Redis; it connects at its first command and survives short absences.

    Further options are those of redis-py's connections.
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

    def add(self, pipe: Any, *parameters: Any) -> None:
        """The same as a command of a pipeline, always with the text: nobody could send it again."""
        pipe.eval(self.text, *parameters)


@contextmanager
def foreseen(settings: Settings | None = None) -> Iterator[None]:
    """Turn what redis-py raises when Redis is away into one error with one line."""
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
        # Redis' own first line says it best.
        address = (settings or current()).redis_address
        reason = first_line(error)
        advice = "check the number at the end of REDIS_URL" if "DB index" in reason else ""
        raise BrokerRefused(address, reason, advice) from error


# The pauses between attempts while Redis is away.
SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class Absence:
    """How long Redis has been away for one waiter, and that waiter's pauses meanwhile."""

    def __init__(
        self,
        waiter: str,
        *,
        patience_s: float = math.inf,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        """`waiter` names in the log what waits. `sleep` may come back early."""
        self._waiter = waiter
        self._patience_s = patience_s
        self._sleep = sleep
        self.end()

    def end(self) -> None:
        """Redis has answered."""
        self._since = math.inf
        self._pause_s = SHORTEST_PAUSE_S

    def wait(self, error: Exception) -> None:
        """Pause after a failure, each time longer; `BrokerGone` when patience is at its end."""
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
    """What `do` gives, tried again for as long as Redis is away.

    Raises what Redis refuses; with `refused_too`, that is tried again as well.
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


# Redis' own words are long, and name its protocol instead of what to do.
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
    """What redis-py says, in one line and plain words."""
    line = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return next((plain for part, plain in _PLAINLY.items() if part in line), line)


def eviction(settings: Settings, client: redis.Redis) -> str:
    """A warning where Redis may throw keys away; nothing where it may not, or does not say."""
    policy: Any = None
    for ask_it in (lambda: client.info("memory"), lambda: client.config_get("maxmemory-policy")):
        # Not every user may ask, and not every server knows both.
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

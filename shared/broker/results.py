"""Makes Celery's result backend wait while Redis is unavailable.

Celery retries some commands (to store a result), but not others (to count a chord's parts, to
join a group). Here the connection itself retries, so every command is retried. A worker waits
for ever. A client waits for `REDIS_GONE_S`, or until its own timeout.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import redis
from celery import states
from celery.backends import redis as base
from celery.backends.base import Backend as BaseBackend
from celery.exceptions import TimeoutError as TimedOut
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from shared.broker.answers import Parser
from shared.broker.connections import AWAY, REFUSALS, Absence, Lua
from shared.errors import BrokerGone
from shared.settings import current

WAITER = "a task's result"


class _Until(threading.local):
    """The deadline until which this thread may wait for a result."""

    time: float = math.inf


_until = _Until()


class Patience(Retry):
    """Retries a command until Redis is available. Raises `BrokerGone` after `patience_s`."""

    def __init__(self, patience_s: float) -> None:
        super().__init__(NoBackoff(), 0)
        self._patience_s = patience_s

    def call_with_retry(
        self,
        do: Callable[[], Any],
        fail: Callable[..., Any],
        is_retryable: Any = None,
        with_failure_count: bool = False,
    ) -> Any:
        """Return the result of `do`; call `fail` after each failure."""
        absence = Absence(WAITER, patience_s=self.left_s())
        failures = 0
        while True:
            try:
                return do()
            except (*REFUSALS, NoScriptError):
                raise
            except AWAY as error:
                if is_retryable and not is_retryable(error):
                    raise
                failures += 1
                fail(*((error, failures) if with_failure_count else (error,)))
                absence.wait(error)

    def left_s(self) -> float:
        """Return the seconds that this thread may still wait."""
        return min(self._patience_s, _until.time - time.monotonic())


class Pool(redis.ConnectionPool):
    """A connection pool that also waits if a new connection is lost before its first use."""

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that Redis has accepted."""
        patience: Patience = self.connection_kwargs["retry"]
        get = super().get_connection
        return patience.call_with_retry(lambda: get(*args, **options), lambda _: None)


class Client(redis.Redis):
    """A client that waits for Redis, except in subscriptions."""

    impatient: redis.ConnectionPool

    def pubsub(self, **options: Any) -> Any:
        """Return a subscription that fails at once. Celery then reads the results that it missed."""
        return redis.Redis(connection_pool=self.impatient).pubsub(**options)


# KEYS: a result. ARGV: the state RETRY as JSON, the number of this attempt, the seconds to keep it.
# Does not replace the outcome of a later attempt. A task first sends its retry and then stores
# the state RETRY. The retry may already have ended by then.
_STORE_RETRY = """
local text = redis.call('get', KEYS[1])
local read, meta = pcall(cjson.decode, text or '')
if read and type(meta) == 'table' then
    local ended = meta.status == 'SUCCESS' or meta.status == 'FAILURE' or meta.status == 'REVOKED'
    if ended and (tonumber(meta.retries) or 0) > tonumber(ARGV[2]) then return 0 end
end
if tonumber(ARGV[3]) > 0 then
    redis.call('setex', KEYS[1], ARGV[3], ARGV[1])
else
    redis.call('set', KEYS[1], ARGV[1])
end
redis.call('publish', KEYS[1], ARGV[1])
return 1
"""


class Backend(base.RedisBackend):
    """Celery's Redis result backend, with connections that wait while Redis is unavailable."""

    # A caller subscribes when it waits for the result. Celery also subscribes while it sends: if
    # Redis is unavailable, sending would then wait as long as reading a result.
    on_task_call = BaseBackend.on_task_call

    @property
    def patience_s(self) -> float:
        """The seconds that a command may wait for Redis."""
        return current().redis_gone_s

    def _create_client(self, **parameters: Any) -> Client:
        parameters["parser_class"] = Parser
        client = Client(connection_pool=Pool(**parameters, retry=Patience(self.patience_s)))
        client.impatient = self._get_pool(**parameters)
        return client

    def ensure(self, do: Callable[..., Any], args: Any, **policy: Any) -> Any:
        """Return the result of `do`; retries commands on connections that do not wait."""
        return Patience(self.patience_s).call_with_retry(lambda: do(*args), lambda _: None)

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        if state != states.RETRY:
            return super()._set_with_state(key, value, state)
        attempt = self.decode(value).get("retries") or 0
        expires_s = int(self.expires or 0)
        return _script(_STORE_RETRY)([key], [value, attempt, expires_s], self.client)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Return False: the connection has already retried the command."""
        return False

    def wait_for_pending(self, result: Any, *args: Any, **options: Any) -> Any:
        """Do the same as Celery, and keep the timeout while Redis is unavailable."""
        with _before(_deadline(options.get("timeout"))):
            return super().wait_for_pending(result, *args, **options)

    def iter_native(self, result: Any, no_ack: bool = True, **options: Any) -> Iterator[Any]:
        """Do the same as Celery, and keep the timeout while Redis is unavailable."""
        found = super().iter_native(result, no_ack=no_ack, **options)
        deadline = _deadline(options.get("timeout"))
        while True:
            with _before(deadline):
                try:
                    pair = next(found)
                except StopIteration:
                    return
            yield pair

    @cached_property
    def _chord_part_return_script(self) -> Any:
        count = _script(base.CHORD_PART_RETURN_LUA)

        def count_and_claim(keys: list[str], args: list[Any], client: Client) -> Any:
            ready, difference, size, claimed = count(keys, args, client)
            if size and not claimed and client.get(keys[5]) == str(args[7]).encode():
                claimed = 1  # the first reply was lost, and the script ran twice
            return ready, difference, size, claimed

        return count_and_claim

    @cached_property
    def _chord_cleanup_script(self) -> Any:
        return _script(base.CHORD_CLEANUP_LUA)

    @cached_property
    def _chord_claim_extend_script(self) -> Any:
        return _script(base.CHORD_CLAIM_EXTEND_LUA)


def _script(text: str) -> Callable[..., Any]:
    lua = Lua(text)
    return lambda keys, args, client: lua.call(client, len(keys), *keys, *args)


def _deadline(timeout_s: float | None) -> float:
    return math.inf if timeout_s is None else time.monotonic() + timeout_s


@contextmanager
def _before(deadline: float) -> Iterator[None]:
    """Limit this thread's wait for Redis. Raises Celery's `TimeoutError` at the deadline."""
    around, _until.time = _until.time, min(_until.time, deadline)
    try:
        yield
    except BrokerGone as error:
        if time.monotonic() < deadline:
            raise
        raise TimedOut("The operation timed out.") from error
    finally:
        _until.time = around

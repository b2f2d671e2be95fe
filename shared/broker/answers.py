"""Error replies that mean "not now": Redis fails over, loads its data, is busy, or is full.

redis-py has a class for some of these answers, but no class that means "try again". Here all of
them are one class, a subclass of `redis.ConnectionError`. So kombu, Celery's backend, redis-py and
our own loops treat such an answer like a lost connection: they wait and retry.

Clients with `Parser` raise these errors. Other clients in the same process, such as those of a
user's tasks, keep redis-py's classes.
"""

import re
from typing import Any

import redis
from redis.connection import DefaultParser
from redis.exceptions import NoScriptError


class NotNow(redis.ConnectionError):
    """Raised for an answer that a retry may avoid. The text is the server's own."""


class NoRoom(NotNow):
    """Raised while Redis has no memory or disk left for a write."""


class ScriptUnknown(NotNow, NoScriptError):
    """Raised when Redis no longer knows a script, after a restart, a failover or SCRIPT FLUSH."""


_FULL = frozenset({"OOM", "MISCONF"})
_NOT_NOW = frozenset(
    {
        *("LOADING", "BUSY"),  # Redis loads its data; a script runs long
        *("READONLY", "MASTERDOWN", "NOMASTERLINK", "UNBLOCKED", "REDIRECT"),  # failover
        *("NOREPLICAS", "NOQUORUM", "CLUSTERDOWN", "TRYAGAIN"),
    }
)
# The error of a script contains the answer to the command that failed: Redis 6 "ERR Error running script (…):
# @user_script: 1: -READONLY You can't …", Redis 7 "EXECABORT … because of: READONLY You can't …".
_WITHIN = re.compile(rf"[ :]-?({'|'.join(sorted(_FULL | _NOT_NOW))}) ")
# Messages without a code, from Redis or from a proxy (twemproxy, Envoy, predixy).
_WORDS = re.compile(
    r"max number of clients|Script killed by user|upstream|no server connection|host is down"
    r"|connection (refused|reset|timed out)|temporarily unavailable|quorum",
    re.IGNORECASE,
)


def not_now(line: str) -> NotNow | None:
    """Return the error for an error reply; None if the reply does not mean "not now"."""
    code = line.partition(" ")[0]
    if code in ("ERR", "EXECABORT"):
        if _WORDS.search(line):
            return NotNow(line)
        within = _WITHIN.search(line)
        code = within[1] if within else ""
    if code in _FULL:
        return NoRoom(line)
    if code in _NOT_NOW:
        return NotNow(line)
    return ScriptUnknown(line) if code == "NOSCRIPT" else None


class Parser(DefaultParser):  # type: ignore[misc, valid-type]
    """redis-py's parser with these errors, for `ConnectionPool(parser_class=…)`."""

    _met: NotNow | None = None

    def parse_error(self, response: str) -> Exception:
        """Return the error for an error reply; redis-py also calls it for errors inside an array."""
        error = not_now(response)
        if error is None:
            found: Exception = super().parse_error(response)
            return found
        self._met = error
        return error

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next reply. Also raises an error inside a reply, as in a reply to EXEC."""
        self._met = None
        response = super().read_response(*args, **kwargs)
        if self._met is not None:
            raise self._met
        return response

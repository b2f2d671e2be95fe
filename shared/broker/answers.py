"""What Redis answers when it means "not now": it fails over, loads, is busy, or is full.

redis-py has a class for some of these answers, and none of them says to try again. Here they are
one class of error, and a kind of `redis.ConnectionError`: whoever waits for a lost connection
(kombu, Celery's backend, redis-py, our own loops) waits for the end of such a state, too.

Clients with `Parser` raise these errors. Other clients in the same process, such as those of a
user's tasks, keep redis-py's classes.
"""

import re
from typing import Any

import redis
from redis.connection import DefaultParser
from redis.exceptions import NoScriptError


class NotNow(redis.ConnectionError):
    """Raised for an answer that a later attempt need not get; its text is the server's own."""


class NoRoom(NotNow):
    """Raised while Redis has no memory, or no disk, for what was sent."""


class ScriptUnknown(NotNow, NoScriptError):
    """Raised when Redis has forgotten a script: it restarted, failed over, or was told to."""


_FULL = frozenset({"OOM", "MISCONF"})
_NOT_NOW = frozenset(
    {
        *("LOADING", "BUSY"),  # it reads its file; a script runs for long
        *("READONLY", "MASTERDOWN", "NOMASTERLINK", "UNBLOCKED", "REDIRECT"),  # it fails over
        *("NOREPLICAS", "NOQUORUM", "CLUSTERDOWN", "TRYAGAIN"),
    }
)
# A script's own errors name the answer to its command: Redis 6 "ERR Error running script (…):
# @user_script: 1: -READONLY You can't …", Redis 7 "EXECABORT … because of: READONLY You can't …".
_WITHIN = re.compile(rf"[ :]-?({'|'.join(sorted(_FULL | _NOT_NOW))}) ")
# Words without a code, of Redis and of proxies (twemproxy, Envoy, predixy) before it.
_WORDS = re.compile(
    r"max number of clients|Script killed by user|upstream|no server connection|host is down"
    r"|connection (refused|reset|timed out)|temporarily unavailable|quorum",
    re.IGNORECASE,
)


def not_now(line: str) -> NotNow | None:
    """The error for a line that Redis answers after its minus sign; None if it means no such thing."""
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
    """redis-py's, for `ConnectionPool(parser_class=…)`."""

    _met: NotNow | None = None

    def parse_error(self, response: str) -> Exception:
        """An error for a line; called for each, also for those inside another answer."""
        error = not_now(response)
        if error is None:
            found: Exception = super().parse_error(response)
            return found
        self._met = error
        return error

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """The next answer; an error inside it, as EXEC may give it, is raised as any other."""
        self._met = None
        response = super().read_response(*args, **kwargs)
        if self._met is not None:
            raise self._met
        return response

"""Every error of our own, one sentence each.

Where the standard library has the exception (``TimeoutError``, ``ValueError`` for a closed
pool, ``multiprocessing.ProcessError``) that one is raised instead.

    DaySixError
    ├── SettingsError
    ├── BrokerUnavailable
    │   ├── BrokerGone
    │   ├── NotRedis
    │   ├── BrokerBusy
    │   │   └── BrokerFull
    │   └── BrokerRefused
    ├── QueueFull
    ├── NotPortable
    ├── NotAllowed
    ├── Unguarded
    ├── TaskRefused
    ├── MessageTooLarge
    ├── CodeDiffers
    ├── WorkerLost
    ├── TaskWithdrawn
    ├── RepliesLost
    ├── HandleLost
    ├── LockLost
    └── RemoteError

Each passes all its arguments to ``super().__init__``: an error crosses from a worker to a
producer as its ``args``.
"""

from collections.abc import Callable
from typing import Any

__all__ = [
    "BrokerBusy",
    "BrokerFull",
    "BrokerGone",
    "BrokerRefused",
    "BrokerUnavailable",
    "CodeDiffers",
    "DaySixError",
    "HandleLost",
    "LockLost",
    "MessageTooLarge",
    "NotAllowed",
    "NotPortable",
    "NotRedis",
    "QueueFull",
    "RemoteError",
    "RepliesLost",
    "SettingsError",
    "TaskRefused",
    "TaskWithdrawn",
    "Unguarded",
    "WorkerLost",
]


def short(value: Any, most: int = 80, *, shown: Callable[[Any], str] = repr) -> str:
    """A value for people, of so many characters at most; `shown` may fail."""
    try:
        text = shown(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else text[: most - 3] + "..."


class DaySixError(Exception):
    """Raised when Day Six meets something that it foresees; the text is one line."""


class SettingsError(DaySixError):
    """Raised when an environment variable has a value that does not fit."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(variable, problem)
        self.variable = variable
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.variable}{self.problem}"


class BrokerUnavailable(DaySixError):
    """Raised when Redis does not answer."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"Redis at {self.address} does not answer ({self.reason}); "
            "start one (producer stack), set REDIS_URL, or use the one of docker compose, which "
            "publishes no port: docker compose run --rm producer …"
        )


class BrokerGone(BrokerUnavailable, ConnectionError):
    """Raised when Redis has been away for so long that nobody waits for it any more."""


class NotRedis(BrokerUnavailable):
    """Raised when something answers that does not speak Redis' protocol."""

    def __str__(self) -> str:
        return f"what answers at {self.address} is not Redis ({self.reason}); check REDIS_URL"


class BrokerRefused(BrokerUnavailable):
    """Raised when Redis answers, and refuses the user, the password or the command."""

    def __init__(self, address: str, reason: str, advice: str = "") -> None:
        super().__init__(address, reason)
        self.args = (address, reason, advice)
        self.advice = advice

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"Redis at {self.address} refused: {self.reason}{advice}"


class BrokerBusy(BrokerUnavailable):
    """Raised when Redis answers "not now": it fails over, loads its data, or runs a script."""

    def __str__(self) -> str:
        return f"Redis at {self.address} is not ready ({self.reason}); try again later"


class BrokerFull(BrokerBusy):
    """Raised when Redis has no memory, or no disk, left for what was sent."""

    def __str__(self) -> str:
        return (
            f"Redis at {self.address} is full ({self.reason}); "
            "wait for the workers, raise its maxmemory, or make room on its disk"
        )


class QueueFull(DaySixError):
    """Raised when a queue has no room for more tasks and the caller chose not to wait."""

    def __init__(self, queue: str, limit: int, sent: int) -> None:
        super().__init__(queue, limit, sent)
        self.queue = queue
        self.limit = limit
        self.sent = sent

    def __str__(self) -> str:
        return (
            f"queue {self.queue!r} is full ({self.limit:,} tasks; {self.sent:,} were sent before); "
            "wait for the workers, or raise QUEUE_LIMIT"
        )


class NotPortable(DaySixError, TypeError):
    """Raised when a value or function cannot be sent: only data and references do, never code."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what} cannot be sent to a worker: {self.reason}"


class Unguarded(DaySixError, RuntimeError):
    """Raised when a script starts a process or a pool while it is merely imported."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__(file, line, what)
        self.file = file
        self.line = line
        self.what = what

    def __str__(self) -> str:
        return (
            f"{self.file}, line {self.line}, starts {self.what}, and would start it again in each "
            'worker, which imports the script: put it under `if __name__ == "__main__":`'
        )


class NotAllowed(DaySixError, PermissionError):
    """Raised when a reference leads outside the modules of ``TASK_MODULES``."""

    def __init__(
        self,
        reference: str,
        allowed: str,
        advice: str = "add its module there, for the producer and for the workers",
    ) -> None:
        super().__init__(reference, allowed, advice)
        self.reference = reference
        self.allowed = allowed
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.reference!r} is outside TASK_MODULES ({self.allowed}); {self.advice}"


class MessageTooLarge(DaySixError, ValueError):
    """Raised when an encoded call or outcome is larger than a message may be."""

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(what, size_bytes, limit_bytes)
        self.what = what
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return (
            f"{self.what} takes {self.size_bytes:,} bytes, the limit is {self.limit_bytes:,}; "
            "pass a file name or a key instead, or raise MESSAGE_LIMIT_BYTES"
        )


class CodeDiffers(DaySixError):
    """Raised when a worker's copy of a module is not the caller's."""

    def __init__(self, module: str, host: str) -> None:
        super().__init__(module, host)
        self.module = module
        self.host = host

    def __str__(self) -> str:
        return (
            f"the worker on {self.host} has another version of {self.module!r} than the caller; "
            "restart the workers, or give both the same files"
        )


class WorkerLost(DaySixError):
    """Raised when the process that ran a task died, as often as the task may be tried."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(function, reason)
        self.function = function
        self.reason = reason

    def __str__(self) -> str:
        return f"the worker process that ran {self.function} was lost: {self.reason}"


class TaskRefused(DaySixError):
    """Raised when no worker runs a task: its message is refused, and is a dead letter now."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(function, reason)
        self.function = function
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.function} was not run: {self.reason}; see: producer dead list"


class TaskWithdrawn(DaySixError):
    """Raised when a task was cancelled, or its pool terminated, before it had an outcome."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(function, reason)
        self.function = function
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.function} was withdrawn: {self.reason}"


class RepliesLost(DaySixError):
    """Raised when this client's reply stream vanished from Redis, and answers with it."""

    def __init__(self, lease_s: float) -> None:
        super().__init__(lease_s)
        self.lease_s = lease_s

    def __str__(self) -> str:
        return (
            f"the reply stream is gone from Redis: this process was paused for more than {self.lease_s:g} s, "
            "or Redis was emptied; send the work again, or raise REPLY_LEASE_S"
        )


class HandleLost(DaySixError):
    """Raised when the data behind a list, dict, value or array is gone from Redis."""

    def __init__(self, name: str, lease_s: float) -> None:
        super().__init__(name, lease_s)
        self.name = name
        self.lease_s = lease_s

    def __str__(self) -> str:
        return (
            f"{self.name!r} is gone from Redis: its manager was shut down, or everybody who used it "
            f"was paused for more than {self.lease_s:g} s; raise HANDLE_LEASE_S"
        )


class LockLost(DaySixError):
    """Raised when a lock expired while it was held."""

    def __init__(self, name: str, lease_s: float) -> None:
        super().__init__(name, lease_s)
        self.name = name
        self.lease_s = lease_s

    def __str__(self) -> str:
        return (
            f"lock {self.name!r} expired while it was held: this process was paused, or cut off from "
            f"Redis, for more than {self.lease_s:g} s; raise LOCK_LEASE_S"
        )


class RemoteError(DaySixError):
    """Raised when a task raised an exception that cannot be rebuilt here; it stands in for it."""

    def __init__(self, class_name: str, text: str) -> None:
        super().__init__(class_name, text)
        self.class_name = class_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.class_name}: {self.text}"

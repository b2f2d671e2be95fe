"""The context of a running call: its caller, its output, and its pool's initializer."""

import collections
import functools
import itertools
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from shared import settings
from shared.broker.messages import queue_of
from shared.calls import outbox, output, redirection
from shared.pools import PoolKind

_running: ContextVar["Running | None"] = ContextVar("running", default=None)


class Running:
    """A call that runs in this process."""

    def __init__(self, call_id: str, reply_to: str, options: dict[str, Any], kind: str) -> None:
        self.call_id = call_id
        self.reply_to = reply_to
        self.options = options
        self.kind = kind
        self.children = itertools.count(1)
        self.captured = (
            output.Captured(
                functools.partial(outbox.tell, reply_to, call_id),
                # The call's name precedes each line.
                whole_lines=options["output"] == "prefixed",
            )
            if options.get("output")
            else None
        )

    @property
    def kinds(self) -> list[str]:
        """The kinds of pools whose tasks wait for this call; the last is the call's own kind."""
        return [*self.options.get("kinds", ()), self.kind]

    @property
    def daemon(self) -> bool:
        """True if the call is a daemonic process, which may not start processes."""
        process = self.options.get("process")
        return bool(process and process["daemon"])

    def rest(self) -> list[tuple[str, str]]:
        """The printed text that was not sent yet. It is sent with the outcome."""
        return self.captured.take() if self.captured else []


def alone() -> bool:
    """True if this process runs only this call, as a prefork worker's process does."""
    call = _running.get()
    return call is not None and call.kind == PoolKind.PREFORK


def current() -> Running | None:
    """The call that this thread or greenlet runs, or None."""
    return _running.get()


@contextmanager
def running(request: Any, reply_to: str, options: dict[str, Any]) -> Iterator[Running]:
    """Mark this thread or greenlet as running a call."""
    kind = queue_of(request.delivery_info)
    call = Running(request.id, reply_to, options, kind)
    token = _running.set(call)
    output.route(_capture_of_this_thread)
    # A prefork process runs one call at a time, so the output of its other threads belongs to it.
    alone = kind == PoolKind.PREFORK and call.captured is not None
    if alone:
        output.everything_to(call.captured)
    try:
        yield call
    finally:
        if alone:
            output.everything_to(None)
        _running.reset(token)


def _capture_of_this_thread() -> "output.Captured | None":
    call = _running.get()
    return call.captured if call is not None else None


# A pool's initializer runs once in each worker process, before the pool's first call there.
# A worker lives long, so it remembers only the latest pools.
_SET_UPS_KEPT = 1_000
_set_ups: "collections.OrderedDict[str, Exception | None]" = collections.OrderedDict()
_set_up_lock = threading.RLock()


def set_up(pool_id: str, initializer: Callable[..., Any], args: list[Any]) -> None:
    """Run a pool's initializer once in this process.

    If the initializer failed, this call and every later one raise its exception.
    """
    with _set_up_lock:
        if pool_id not in _set_ups:
            try:
                initializer(*args)
                _set_ups[pool_id] = None
            except Exception as error:
                _set_ups[pool_id] = error
            while len(_set_ups) > _SET_UPS_KEPT:
                _set_ups.popitem(last=False)
        failed = _set_ups[pool_id]
    if failed is not None:
        raise failed


# How many chunks of a pool with ``maxtasksperchild`` this process has run. Only the latest pools
# are remembered.
_runs: "collections.OrderedDict[str, int]" = collections.OrderedDict()
_worn_out = False


def count_run(pool_id: str, at_most: int) -> None:
    """Count one chunk of a pool in this process, and wear the process out at `at_most` chunks."""
    _runs[pool_id] = _runs.pop(pool_id, 0) + 1
    while len(_runs) > _SET_UPS_KEPT:
        _runs.popitem(last=False)
    if _runs[pool_id] >= at_most:
        wear_out()


def wear_out() -> None:
    """Make a prefork worker replace this process after its task."""
    global _worn_out  # noqa: PLW0603 - a process is worn out once
    _worn_out = True


def worn_out() -> bool:
    """True if this process should end, after a pool's ``maxtasksperchild`` or a script's run."""
    return _worn_out


def inherited() -> dict[str, Any]:
    """The options of this process that every call sent from here carries."""
    options: dict[str, Any] = {}
    if (shown := settings.current().output) != "off":
        options["output"] = shown
    around = current()
    if around is not None:
        options["kinds"] = around.kinds
    of_script = redirection.options() if around is None else around.options
    carried = ("script", "run", "thread_pools", "argv")
    options.update({name: of_script[name] for name in carried if name in of_script})
    return options


def whereabouts() -> dict[str, Any]:
    """This process's pid, host and Python version, for its caller."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "python": sys.version.split()[0]}

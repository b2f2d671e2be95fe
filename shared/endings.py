"""Ends a process in order: no thread of it uses Redis any more, and its tasks end with it.

A daemon thread that is in the midst of a command when the interpreter ends may crash it. So each
thread that lives as long as its process is told to end, and waited for, after everything else
that happens at exit.

SIGTERM and SIGHUP end what a client has sent to the workers, as Ctrl-C does:

    main thread                          another thread
    SIGTERM: handler ──────────────────► end pools, executors and processes
    raise SystemExit: `with`, `finally`
    at exit ◄─────────────────────────── done
    end by that same signal              or end by it now, where the program does not

A second signal ends the program at once. A handler that the program has set stays in force, and
so does a signal that it ignores. Nothing is set before the first pool or process.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

_ALL_END_WITHIN_S = 5.0
_running: "list[Background]" = []


class Background(threading.Thread):
    """A daemon thread, and how to tell it to end."""

    def __init__(self, target: Callable[[], None], name: str, *, end: Callable[[], None]) -> None:
        """`end` has the thread leave `target` soon; it may be called from any other thread."""
        super().__init__(target=target, name=name, daemon=True)
        self._tell = end

    def start(self) -> None:
        """Run; at exit it is ended."""
        _running[:] = [*(thread for thread in _running if thread.is_alive()), self]
        super().start()

    def end(self, within_s: float = _ALL_END_WITHIN_S) -> None:
        """Tell it to end and wait for it, so long at the most."""
        self._tell()
        if self.is_alive() and self is not threading.current_thread():
            self.join(within_s)


def end_threads() -> None:
    """End all of them, the last one that began first."""
    deadline = time.monotonic() + _ALL_END_WITHIN_S
    for thread in reversed(_running):
        thread.end(max(0.0, deadline - time.monotonic()))


# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_running.clear)


_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# What the program's own clean-up may take. Its threads, too, may go on for ever.
_WITHIN_S = 10.0

# What is to be done, each without waiting for tasks.
on_signal: list[Callable[[], None]] = []

_number = 0
_done = threading.Event()
_watching = 0  # the process that has set the handlers; a forked child inherits them


def watch_signals() -> None:
    """Handle these signals where nobody else does; only the main thread can."""
    global _watching  # noqa: PLW0603 - signals are a process's
    if _watching == os.getpid() or threading.current_thread() is not threading.main_thread():
        return
    _watching = os.getpid()
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, _begin):
            signal.signal(number, _begin)


def by_signal() -> bool:
    """Whether a signal is ending this program."""
    return bool(_number)


def _begin(number: int, _: Any) -> None:
    global _number  # noqa: PLW0603
    for each in _SIGNALS:
        if signal.getsignal(each) is _begin:
            signal.signal(each, signal.SIG_DFL)
    if _watching != os.getpid():
        os.kill(os.getpid(), number)  # a forked child, which has no handler of its own
        return
    _number = number
    threading.Thread(target=_end_tasks, name="ending", daemon=True).start()
    raise SystemExit(128 + number)


def _end_tasks() -> None:
    for end in on_signal:
        try:
            end()
        except Exception as error:
            # Redis is away: the workers find out when the reply stream's lease ends.
            logger.warning("not everything that was sent is ended: %s", error)
    _done.set()
    time.sleep(_WITHIN_S)
    os.kill(os.getpid(), _number)


# Registered before all that pools and processes do at exit, so that it runs after.
@atexit.register
def _end() -> None:
    if _number:
        _done.wait(_WITHIN_S)
    end_threads()
    if _number:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os.kill(os.getpid(), _number)

"""Sends the output of a task to its caller's terminal while the task runs.

`sys.stdout` and `sys.stderr` become proxies in a worker process at its first call. Inside a
call that wants its output back, lines are collected and sent on the reply stream: the first
at once, what follows at most `PAUSE_S` later, the rest together with the outcome. A part of a
line is sent when the task flushes it, as progress bars do.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from shared.endings import Background

logger = logging.getLogger(__name__)

PAUSE_S = 0.05
STREAMS = ("out", "err")


class Captured:
    """What one call has printed and that has not been sent yet.

    `whole_lines`: send no part of a line before its end, even when the task flushes it.
    """

    def __init__(
        self, send: Callable[[list[tuple[str, str]]], None], *, whole_lines: bool = False
    ) -> None:
        self._send = send
        self._whole_lines = whole_lines
        self._lock = threading.Lock()
        self._pending: list[tuple[str, str]] = []
        self._partial = dict.fromkeys(STREAMS, "")
        self._sent_at = 0.0

    def write(self, stream: str, text: str) -> None:
        """Add printed text. Complete lines are sent soon."""
        with self._lock:
            lines, newline, rest = (self._partial[stream] + text).rpartition("\n")
            self._partial[stream] = rest
            if newline:
                self._pending.append((stream, lines + newline))
        self._send_soon()

    def flush(self, stream: str) -> None:
        """Send an incomplete line soon, too."""
        with self._lock:
            if self._partial[stream] and not self._whole_lines:
                self._pending.append((stream, self._partial[stream]))
                self._partial[stream] = ""
        self._send_soon()

    def _send_soon(self) -> None:
        if not self._pending:
            return
        if time.monotonic() - self._sent_at >= PAUSE_S:
            self.send()
        else:
            _flusher.later(self)

    def send(self) -> None:
        """Send the complete lines now."""
        with self._lock:
            pending, self._pending = self._pending, []
            self._sent_at = time.monotonic()
            if pending:
                # Under the lock: two senders would turn the lines around.
                self._send(pending)

    def take(self) -> list[tuple[str, str]]:
        """Remove and return the text that was not sent, so that the answer carries it."""
        with self._lock:
            rest = self._pending + [(name, text) for name, text in self._partial.items() if text]
            self._pending, self._partial = [], dict.fromkeys(STREAMS, "")
        return rest


class _Flusher:
    """The thread of a process that sends lines after a pause in the output."""

    def __init__(self) -> None:
        self._waiting: set[Captured] = set()
        self._changed = threading.Condition()
        self._thread: Background | None = None
        self._ended = False

    def later(self, captured: Captured) -> None:
        with self._changed:
            self._waiting.add(captured)
            if self._thread is None or not self._thread.is_alive():
                self._ended = False
                self._thread = Background(self._run, "output", end=self._end)
                self._thread.start()
            self._changed.notify()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _run(self) -> None:
        while not self._ended:
            with self._changed:
                while not (self._waiting or self._ended):
                    self._changed.wait()
            time.sleep(PAUSE_S)
            with self._changed:
                waiting, self._waiting = self._waiting, set()
            for captured in waiting:
                try:
                    captured.send()
                except Exception:
                    logger.exception("output was not sent")


_flusher = _Flusher()


class _Proxy:
    """A text stream that passes printed text to the call that printed it."""

    def __init__(self, name: str, original: Any) -> None:
        self._name = name
        self._original = original

    def write(self, text: str) -> int:
        captured = _everything or _find()
        if captured is None:
            return self._original.write(text) or 0
        captured.write(self._name, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        captured = _everything or _find()
        if captured is not None:
            captured.flush(self._name)
        self._original.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


_everything: Captured | None = None


def _nobody() -> Captured | None:
    return None


_find: Callable[[], Captured | None] = _nobody


def route(find: Callable[[], Captured | None]) -> None:
    """Make `sys.stdout` and `sys.stderr` ask `find` to which call the output belongs."""
    global _find  # noqa: PLW0603 - one per process, as sys.stdout is
    _find = find
    if not isinstance(sys.stdout, _Proxy):
        sys.stdout = _Proxy("out", sys.stdout)
    if not isinstance(sys.stderr, _Proxy):
        sys.stderr = _Proxy("err", sys.stderr)


def everything_to(captured: Captured | None) -> None:
    """Send all output of the process to one call. None stops this."""
    global _everything  # noqa: PLW0603 - one per process, as sys.stdout is
    _everything = captured


def show(stream: str, text: str, prefix: str) -> None:
    """Print a task's output on the caller's side."""
    target = sys.stdout if stream == "out" else sys.stderr
    if prefix:
        text = "".join(f"{prefix}{line}" for line in text.splitlines(keepends=True))
    try:
        target.write(text)
    except UnicodeEncodeError as error:
        # The worker's encoding is not this terminal's: what it lacks is shown as an escape.
        target.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
    target.flush()

"""Cleans up after a stack that could not: waits for its pipe to close, then ends what is left.

Reads lines from standard input until its end: ``folder PATH``, ``group PID`` and ``process PID``
for what to end, ``ended PID`` for what needs it no more, ``mark NAME=VALUE`` for what stands in
the environment of them all. Only the standard library, so that it starts at once.
"""

import contextlib
import glob
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

GRACE_S = 5.0
Sender = Callable[[int, int], None]


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    senders: dict[int, Sender] = {}
    folders: list[str] = []
    mark = b""
    for line in sys.stdin.buffer:
        what, _, rest = line.rstrip(b"\n").partition(b" ")
        if what == b"folder":
            folders.append(os.fsdecode(rest))
        elif what == b"mark":
            mark = rest
        elif what == b"ended":
            senders.pop(int(rest), None)
        else:
            senders[int(rest)] = os.killpg if what == b"group" else os.kill
    end(senders, mark)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def end(senders: dict[int, Sender], mark: bytes) -> None:
    """Ask each to end, also those that come up meanwhile; kill what has not after a grace."""
    deadline = time.monotonic() + GRACE_S
    asked: set[int] = set()
    while there := {**marked(mark), **{p: s for p, s in senders.items() if sent(s, p, 0)}}:
        late = time.monotonic() - deadline
        for pid, send in there.items():
            if late > 0:
                sent(send, pid, signal.SIGKILL)
            elif pid not in asked:
                asked.add(pid)
                sent(send, pid, signal.SIGTERM)
        if late > 1:
            # Killed, and not collected by whoever should.
            return
        time.sleep(0.02)


def marked(mark: bytes) -> dict[int, Sender]:
    """The processes with the mark, where the system shows an environment (Linux does)."""
    found: dict[int, Sender] = {}
    for environment in glob.glob("/proc/[0-9]*/environ") if mark else ():
        with contextlib.suppress(OSError), open(environment, "rb") as file:
            if mark in file.read().split(b"\0"):
                found[int(environment.split("/")[2])] = os.kill
    return found


def sent(send: Sender, pid: int, number: int) -> bool:
    """Whether there was somebody to get the signal."""
    try:
        send(pid, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()

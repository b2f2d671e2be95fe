"""Cleans up after a stack that could not: waits for its pipe to close, then ends what is left.

Reads lines ``group PID`` and ``folder PATH`` from standard input until the end. Only the
standard library, so that it starts at once.
"""

import os
import shutil
import signal
import sys
import time

GRACE_S = 5.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups, folders = [], []
    for line in sys.stdin:
        what, _, rest = line.strip().partition(" ")
        if what == "group":
            groups.append(int(rest))
        elif what == "folder":
            folders.append(rest)
    if any(send(group, signal.SIGTERM) for group in groups):
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and any(send(group, 0) for group in groups):
            time.sleep(0.05)
        for group in groups:
            send(group, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def send(group: int, number: int) -> bool:
    """Whether the group is there to get the signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()

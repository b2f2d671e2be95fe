"""Processes, and one private folder, that do not outlive the process that started them.

A janitor process (`producer.janitor`) holds the end of a pipe. It hears of each child before
the child's program begins, and ends what is left when the pipe closes: by `Children.close`, or
because this process is gone, by SIGKILL even.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

# In the environment of each child and of all that it starts, whatever session that is in.
MARK = "DAY_SIX_STACK"


class Children:
    """Launches processes and ends them; ``folder`` is theirs, and goes with them."""

    def __init__(self) -> None:
        # Named here and told before it is made: a SIGKILL in between leaves nothing.
        self.folder = Path(tempfile.gettempdir(), f"day-six-{secrets.token_hex(8)}")
        # With each child, whether it leads a session of its own.
        self._launched: dict[subprocess.Popen[bytes], bool] = {}
        self._janitor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("janitor.py"))],
            stdin=subprocess.PIPE,
            start_new_session=True,
            # Without the mark of a stack around this one, whose janitor would end ours.
            env={name: value for name, value in os.environ.items() if name != MARK},
        )
        self._tell(b"folder " + os.fsencode(self.folder))
        self._tell(b"mark " + os.fsencode(f"{MARK}={self.folder}"))
        self.folder.mkdir(mode=0o700)

    def launch(
        self,
        command: list[str],
        *,
        own_session: bool = True,
        stdin: int | None = None,
        output: IO[bytes] | None = None,
        environment: dict[str, str],
        folder: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process; in a session of its own, no Ctrl-C of the terminal reaches it.

        It starts in `folder`, else where this process is.
        """
        what = b"group %d" if own_session else b"process %d"
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env={**environment, MARK: str(self.folder)},
            start_new_session=own_session,
            cwd=folder,
            # Between its fork and its exec the child names itself: whatever happens to this
            # process meanwhile, the janitor knows. The pipe closes when the program begins.
            preexec_fn=lambda: self._tell(what % os.getpid()),  # noqa: PLW1509
        )
        self._launched[process] = own_session
        return process

    def send(self, process: subprocess.Popen[bytes], number: int) -> None:
        """Send a signal to a child and, in a session of its own, to its descendants."""
        if not self._launched[process]:
            process.send_signal(number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of a child, collect it, and have the janitor forget its number."""
        self.send(process, signal.SIGKILL)
        process.wait()
        del self._launched[process]
        with contextlib.suppress(OSError):
            self._tell(b"ended %d" % process.pid)

    def close(self) -> None:
        """Kill any child that is left, have the janitor end the rest, and remove the folder."""
        for process in list(self._launched):
            self.end(process)
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._janitor.wait()
        # The janitor has done it, unless somebody killed it.
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _pipe(self) -> Any:
        return self._janitor.stdin

    def _tell(self, line: bytes) -> None:
        # Not through a buffer, which a child would copy; and short enough to stay in one piece.
        os.write(self._pipe.fileno(), line + b"\n")

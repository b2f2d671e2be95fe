"""Shared by the commands of the bench: the output folder and the exit status."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.environments import SetUpFailed
from bench.reports import NoReport
from bench.running import NothingMeasured
from producer.stack import StackFailed
from shared.errors import DaySixError


def prepare(folder: Path) -> None:
    """Create the output folder. Raises OSError now, not after an hour, if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{folder} cannot be written into: {error.strerror}") from error


def end_with(main: Callable[[], int]) -> None:
    """Run `main` and exit with its status. Prints an expected error, or Ctrl-C, as one line."""
    try:
        status = main()
    except (DaySixError, SetUpFailed, StackFailed, NothingMeasured, NoReport, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("bench: interrupted before there was anything to report", file=sys.stderr)
        status = 130
    sys.exit(status)

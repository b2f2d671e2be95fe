"""What the commands of the bench have in common: where they write, and how they end."""

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
    """Make a folder that can be written into; OSError before an hour is spent, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{folder} cannot be written into: {error.strerror}") from error


def end_with(main: Callable[[], int]) -> None:
    """Run it and exit with its status; what is foreseen, Ctrl-C too, is one line."""
    try:
        status = main()
    except (DaySixError, SetUpFailed, StackFailed, NothingMeasured, NoReport, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("bench: interrupted before there was anything to report", file=sys.stderr)
        status = 130
    sys.exit(status)

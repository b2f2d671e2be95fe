"""What the commands of the bench have in common: how they end."""

import sys
from collections.abc import Callable

from bench.environments import SetUpFailed
from producer.stack import StackFailed


def end_with(main: Callable[[], int]) -> None:
    """Run it and exit with its status; what is foreseen, Ctrl-C too, is one line."""
    try:
        status = main()
    except (SetUpFailed, StackFailed, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("bench: interrupted before anything was measured", file=sys.stderr)
        status = 130
    sys.exit(status)

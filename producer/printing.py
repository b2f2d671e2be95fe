"""How the commands print."""

import json
import sys
from typing import Any


def print_json(value: Any) -> None:
    """A value for scripts, on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def console() -> Any:
    """A console for what others have named: nothing in it is markup, or an emoji."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def say(line: str) -> None:
    """A line for people, on stderr."""
    print(f"producer: {line}", file=sys.stderr)

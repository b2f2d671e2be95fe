"""What the commands of the bench accept on their command lines."""

import argparse
from typing import Any


def positive(text: str) -> int:
    """A number of rounds or of tasks."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def some(known: list[str]) -> Any:
    """Some of these words, with commas between them, each once."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse

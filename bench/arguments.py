"""Argument types for the commands of the bench."""

import argparse
from typing import Any


def positive(text: str) -> int:
    """Return a number of rounds or tasks, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def some(known: list[str]) -> Any:
    """Return a parser for a comma-separated list of these words, without duplicates."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse

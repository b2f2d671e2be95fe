"""Prints for the commands: any value from Redis, on any terminal.

Text that came from Redis, a message or a task may hold anything: escape sequences that write
elsewhere on the terminal, characters that turn a line around, halves of characters. `harmless` is
the one function through which it passes. The streams may be closed, full, or of any encoding.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unicodedata import category

from shared.errors import DaySixError

_NARROWEST = 20
# A column whose cells may be folded has so much room at least.
_FOLDED = 8


def harmless(value: object, *, lines: bool = False) -> str:
    """A value's text, with escapes for what a terminal would obey; its lines kept if asked."""
    text = str(value)
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char
        if char.isprintable() or char in kept or category(char) == "Zs"
        else char.encode("unicode_escape").decode()
        for char in text
    )


def tell(value: object) -> None:
    """Something for people, on stdout."""
    print(harmless(value, lines=True))


def say(line: str) -> None:
    """A line for people, on stderr; nobody can be told that there is no room for it."""
    with contextlib.suppress(OSError):
        print(f"producer: {harmless(line)}", file=sys.stderr)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """A value for scripts, on stdout: JSON as RFC 8259 has it, so no NaN."""
    print(json_text(value, indent=indent), flush=indent is None)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that any terminal shows as it is."""
    is_utf = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
    options: Any = {"ensure_ascii": not is_utf, "default": str, "indent": indent}
    try:
        try:
            text = json.dumps(value, allow_nan=False, **options)
        except ValueError:
            without = json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)
            text = json.dumps(without, **options)
    except (TypeError, ValueError, RecursionError):
        # Its keys are no text, a number has thousands of digits, or it is nested too deeply.
        text = json.dumps(_repr(value), ensure_ascii=True)
    # Only strings can hold such characters: the rest of JSON is ASCII.
    return "".join(
        char
        if char.isprintable() or char == "\n" or category(char) == "Zs"
        else json.dumps(char)[1:-1]
        for char in text
    )


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except (RecursionError, ValueError):
        return "nested too deeply, or a number of thousands of digits"


def console() -> Any:
    """A console for what others have named: nothing in it is markup, or an emoji."""
    from rich.console import Console

    made = Console(markup=False, emoji=False, highlight=False)
    made.width = max(made.width, _NARROWEST)
    return made


class Sheet:
    """A table where it fits; on a narrower terminal, a line for each cell. No number is cut."""

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        right: Iterable[int] = (),
        whole: Iterable[int] = (),
        show_lines: bool = False,
        framed: bool = True,
    ) -> None:
        """`right` are the columns of numbers; of `whole` ones no cell is broken either."""
        self._columns = [harmless(title) for title in columns]
        self._rows = [[harmless(value, lines=True) for value in row] for row in rows]
        self._right, self._whole = set(right), {*right, *whole}
        self._show_lines, self._framed = show_lines, framed

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The text that rich prints."""
        from rich.table import Table
        from rich.text import Text

        if self._narrowest() <= options.max_width:
            table = Table(show_lines=self._show_lines)
            if not self._framed:
                table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
            for index, title in enumerate(self._columns):
                table.add_column(
                    Text(title),
                    justify="right" if index in self._right else "left",
                    no_wrap=index in self._whole,
                    overflow="fold",
                )
            for row in self._rows:
                table.add_row(*map(Text, row))
            yield table
            return
        for row in self._rows:
            for title, cell in zip(self._columns, row, strict=True):
                yield Text(f"{title}: {cell}" if title else cell, overflow="fold")
            yield Text("")

    def _narrowest(self) -> int:
        """The fewest columns of a terminal on which it can be read, frame and all."""
        from rich.cells import cell_len

        width = 1
        for index, title in enumerate(self._columns):
            lines = [line for row in self._rows for line in row[index].splitlines()]
            longest = max(map(cell_len, [title, *lines]))
            width += (3 if self._framed else 1) + (
                longest if index in self._whole else min(longest, _FOLDED)
            )
        return width


def open_streams() -> None:
    """Put /dev/null in the place of a closed stream, and let each character find a way out."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # The lowest number that is free, which is the closed stream's own.
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        # Where tests capture it, it is no file.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def close_stdout() -> str:
    """Write out what is left; why it cannot be written, or nothing."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        problem = "nobody reads it any more"
    except OSError as error:
        problem = error.strerror or str(error)
    else:
        return ""
    # Python writes once more at its end, and would complain.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return problem


class CannotWrite(DaySixError):
    """Raised when the command's output, or a file of its, cannot be written."""

    def __init__(self, error: OSError) -> None:
        where = f" {error.filename!r}" if error.filename else ""
        super().__init__(f"cannot write{where}: {error.strerror or error}")

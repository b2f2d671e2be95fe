"""The task of a comparison: a ready-made function or the user's own, and its items."""

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from producer.arguments import WrongUsage
from shared.calls import references
from shared.laboratory import workloads


@dataclass
class Task:
    """The task of a comparison: a function by name, and its items."""

    name: str
    function: Callable[..., Any]
    reference: str
    items: list[list[Any]]  # empty: numbers, as many as fit
    extra: list[Any] = field(default_factory=list)

    def awaitable(self) -> str:
        """The reference of the coroutine function for asyncio, or an empty text."""
        other = workloads.COROUTINES.get(self.function)
        if other is not None:
            return references.reference(other)
        return self.reference if inspect.iscoroutinefunction(self.function) else ""


def load_task(name: str, items: str, more: str) -> Task:
    """The task of this name with its items. Raises `WrongUsage` for an unknown name."""
    function = workloads.WORKLOADS.get(name)
    if function is None:
        if ":" not in name:
            raise WrongUsage(
                f"{name!r} is neither one of {', '.join(workloads.WORKLOADS)} nor a module:function"
            )
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        references.check_allowed(name)
        try:
            importlib.import_module(name.partition(":")[0])
        except ImportError as error:
            raise WrongUsage(f"{name!r} cannot be imported here: {error}") from None
        function = references.resolve_function(name)
    try:
        extra = json.loads(more)
    except ValueError:
        extra = None
    if not isinstance(extra, list):
        raise WrongUsage(f"--args {more!r} is not a JSON array such as '[10, \"a\"]'")
    calls = [[*item, *extra] for item in _items(items)]
    return Task(name, function, references.reference(function), calls, extra)


def _items(words: str) -> list[list[Any]]:
    """The arguments of each item: of a number, a range ``5..20`` or a file of JSON lines."""
    first, dots, last = words.partition("..")
    if not words:
        return []
    if words.isdecimal() or (dots and first.isdecimal() and last.isdecimal()):
        numbers = range(int(first), int(last) + 1) if dots else range(int(words))
        if not numbers:
            raise WrongUsage(f"--items {words!r} are none")
        return [[number] for number in numbers]
    path = Path(words)
    if not path.is_file():
        raise WrongUsage(
            f"--items {words!r} is neither a number, nor a range such as 5..20, nor a file"
        )
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError:
                raise WrongUsage(f"{words} line {number} is not JSON: {line[:60]!r}") from None
            # A JSON array gives several arguments. Any other value is one argument.
            found.append(value if isinstance(value, list) else [value])
    if not found:
        raise WrongUsage(f"--items {words!r} has no lines")
    return found

"""What a pool sends: items in chunks, each chunk one call, and how many are on their way."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shared import calls
from shared.calls import Mode
from shared.multiprocessing.awaitables import AsyncResult, IMapIterator


class Chunk:
    """One call: consecutive items, encoded."""

    __slots__ = ("argsrepr", "first", "function", "items", "kwargsrepr", "payload")

    def __init__(
        self, first: int, items: int, function: str, payload: bytes, argsrepr: str, kwargsrepr: str
    ) -> None:
        self.first = first
        self.items = items
        self.function = function
        self.payload = payload
        self.argsrepr = argsrepr
        self.kwargsrepr = kwargsrepr


class Job:
    """What one method call asked for: its chunks still to send, and where outcomes go."""

    def __init__(
        self,
        chunks: list[Chunk] | Iterator[Chunk],
        result: AsyncResult | IMapIterator | Any,
        function: str,
        *,
        lazy: bool = False,
    ) -> None:
        self._left = None if isinstance(chunks, Iterator) else len(chunks)
        self._chunks = iter(chunks)
        self.result = result
        self.function = function
        self.lazy = lazy  # `imap`: goes on after an error, its iterable read as results are
        self.exhausted = False
        self.taken = 0  # items

    def take(self, at_most: int) -> tuple[list[Chunk], Exception | None]:
        """The next chunks, and the error if the caller's iterable raised one."""
        chunks: list[Chunk] = []
        try:
            # One by one: what came before an error is still sent.
            for chunk in itertools.islice(self._chunks, at_most):
                chunks.append(chunk)
        except Exception as error:
            self.exhausted = True
            return self._count(chunks), error
        if self._left is None:
            self.exhausted = len(chunks) < at_most
        else:
            self._left -= len(chunks)
            self.exhausted = self._left == 0
        return self._count(chunks), None

    def _count(self, chunks: list[Chunk]) -> list[Chunk]:
        self.taken += sum(chunk.items for chunk in chunks)
        self.result._took(len(chunks))
        return chunks


_WINDOW_S = 0.1
_MOST_AHEAD = 1000


class Pace:
    """How many chunks of a pool may be out beside those that run.

    As many as were answered within the last tenth of a second: whoever is done finds the next
    one waiting, many travel together, and what runs for long has next to nothing waiting
    behind it, where it would be in the way of other callers.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._now = self._before = 0  # answers in this window, and in the one before

    def answered(self) -> None:
        """Count one."""
        self._turn()
        self._now += 1

    def ahead(self) -> int:
        """How many."""
        self._turn()
        return min(max(self._now, self._before), _MOST_AHEAD)

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._since >= _WINDOW_S:
            self._before = self._now if now - self._since < 2 * _WINDOW_S else 0
            self._now = 0
            self._since = now


def cut(func: Callable[..., Any], mode: Mode, items: Iterable[Any], size: int) -> Iterator[Chunk]:
    iterator = iter(items)
    first = 0
    while batch := list(itertools.islice(iterator, size)):
        yield Chunk(first, len(batch), *encode(func, mode, batch))
        first += len(batch)


def encode(func: Callable[..., Any], mode: Mode, items: list[Any]) -> tuple[str, bytes, str, str]:
    name, payload = calls.encode_call(func, mode, items)
    return name, payload, *calls.arguments_repr(mode, items)

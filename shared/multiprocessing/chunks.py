"""What a pool sends: items in chunks, each chunk one call, and how many are on their way."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from shared.calls import encoding
from shared.calls.encoding import Mode
from shared.calls.outcomes import Outcomes
from shared.errors import MessageTooLarge
from shared.multiprocessing.awaitables import ALL, AsyncResult, IMapIterator


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
        chunks: Iterator[Chunk],
        result: AsyncResult | IMapIterator | Any,
        function: str,
        *,
        total: int | None = None,
        encoded: bool = False,
    ) -> None:
        self._chunks = chunks
        self._total = total
        self.result = result
        self.function = function
        self.encoded = encoded  # else the caller's own code may run for each chunk
        self.exhausted = False
        self.taken = 0  # items

    @classmethod
    def of(cls, chunk: Chunk, result: Any) -> "Job":
        """A job of one chunk."""
        return cls(iter([chunk]), result, chunk.function, total=chunk.items, encoded=True)

    @property
    def lazy(self) -> bool:
        """Of `imap`: goes on after an error, and its iterable is read as results are."""
        return self._total is None

    def take(self, at_most: int) -> tuple[list[Chunk], Exception | None]:
        """The next chunks, and the error if the caller's iterable raised one."""
        chunks: list[Chunk] = []
        try:
            # One by one: what came before an error is still sent.
            for chunk in itertools.islice(self._chunks, at_most):
                chunks.append(chunk)
        except Exception as error:
            self.exhausted = True
            self._count(chunks)
            return chunks, error
        self._count(chunks)
        self.exhausted = len(chunks) < at_most if self.lazy else self.taken == self._total
        return chunks, None

    def _count(self, chunks: list[Chunk]) -> None:
        self.taken += sum(chunk.items for chunk in chunks)
        self.result._took(len(chunks))


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


# A chunk's own cost is about a millisecond of a processor: it is to last ten times that, and
# no longer than ten times that again.
_LEAST_S, _MOST_S = 0.01, 0.1
_MOST_BYTES = 1_000_000
_MOST_PROBED = 32


class Sizes:
    """How many items of a `map` go in each of its chunks.

    What `chunksize` says; without it, first a few to each place, to see how long they take.
    Then as many as run for a tenth of a second, no more than a place's share, fewer near the
    end, so that nobody waits for the last ones alone, but not so few that sending them costs
    more than they do.
    """

    def __init__(self, total: int, places: int, chunksize: int | None) -> None:
        self.sent = 0  # chunks
        self.given = chunksize
        self._places = places
        self._total = total
        self._item_s = self._item_bytes = 0.0
        self._answered = False

    def next(self, left: int) -> int:
        """How many items, of those that are left."""
        if self.given is not None:
            return self.given
        if not self._answered:
            return min(math.ceil(self._total / (64 * self._places)), _MOST_PROBED)
        share = math.ceil(left / (2 * self._places))
        least = _LEAST_S / self._item_s if self._item_s else left
        most = min(
            10 * least,
            _MOST_BYTES / self._item_bytes if self._item_bytes else left,
            math.ceil(self._total / max(4, self._places)),
        )
        return max(1, int(min(max(share, least), most)))

    def note(self, outcomes: Outcomes) -> None:
        """Learn from a chunk that came back."""
        if outcomes.seconds:  # not those of a call that never ran
            # The latest counts as much as all before it.
            item_s = outcomes.seconds / len(outcomes)
            self._item_s = (self._item_s + item_s) / 2 if self._item_s else item_s
        self._item_bytes = max(self._item_bytes, outcomes.size_bytes / len(outcomes))
        self._answered = True

    def room(self) -> int:
        """How many chunks may be sent."""
        if self.given is not None or self._answered:
            return ALL
        return self._places - self.sent


def cut(func: Callable[..., Any], mode: Mode, items: Iterable[Any], size: int) -> Iterator[Chunk]:
    """The chunks of an iterable, of one size."""
    iterator = iter(items)
    first = 0
    while batch := list(itertools.islice(iterator, size)):
        yield Chunk(first, len(batch), *encode(func, mode, batch))
        first += len(batch)


def cut_sequence(
    func: Callable[..., Any], mode: Mode, items: Sequence[Any], sizes: Sizes
) -> Iterator[Chunk]:
    """The chunks of a list or a range, each made when it is sent."""
    first, most = 0, len(items)
    while first < len(items):
        batch = items[first : first + min(sizes.next(len(items) - first), most)]
        try:
            encoded = encode(func, mode, batch)
        except MessageTooLarge:
            if sizes.given or len(batch) == 1:
                raise
            most = len(batch) // 2
            continue
        yield Chunk(first, len(batch), *encoded)
        first += len(batch)


def encode(
    func: Callable[..., Any], mode: Mode, items: Sequence[Any]
) -> tuple[str, bytes, str, str]:
    """What a chunk of these items holds."""
    name, payload = encoding.encode_call(func, mode, items)
    return name, payload, *encoding.arguments_repr(mode, items)

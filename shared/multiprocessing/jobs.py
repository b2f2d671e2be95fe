"""What a pool sends: jobs, cut into chunks of consecutive items, each chunk one call."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from shared.calls import encoding
from shared.calls.encoding import Mode
from shared.calls.outcomes import Outcomes
from shared.errors import MessageTooLarge
from shared.multiprocessing.pacing import Sizes


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


class Receiver(Protocol):
    """Where a pool puts the outcomes of a job: a result, an iterator, a future.

    `starting`, `took` and `room` are called in the thread that sends, `receive` in the thread
    that reads the replies, `fail` and `complete` in either.
    """

    def starting(self, call_id: str, message: bytes) -> bool:
        """Note that a chunk is about to be sent; False keeps the chunk back."""

    def took(self, chunks: int) -> None:
        """Note that so many chunks were taken from the job."""

    def room(self) -> int:
        """How many chunks may be taken now; `ALL` where there is no bound."""

    def receive(self, first: int, items: int, outcomes: Outcomes) -> None:
        """Take a chunk's outcomes; `first` is the index of its first item."""

    def fail(self, error: BaseException, at: int | None = None) -> None:
        """End with an error: of the caller's iterable after `at` items, else of the pool."""

    def complete(self, count: int) -> None:
        """Note that the iterable ended after so many items."""


class Job:
    """What one method call asked for: its chunks still to send, and where outcomes go."""

    def __init__(
        self,
        chunks: Iterator[Chunk],
        result: Receiver,
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
    def of(cls, chunk: Chunk, result: Receiver) -> "Job":
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
        self.result.took(len(chunks))


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

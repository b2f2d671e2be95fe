"""A pool's jobs, cut into chunks of consecutive items. Each chunk is sent as one call."""

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
    """The receiver of a job's outcomes: a result, an iterator, or a future.

    `starting`, `took` and `room` are called in the thread that sends, `receive` in the thread
    that reads the replies, `fail` and `complete` in either.
    """

    def starting(self, call_id: str, message: bytes) -> bool:
        """Called before a chunk is sent. Return False to keep the chunk back."""

    def took(self, chunks: int) -> None:
        """Called after `chunks` chunks were taken from the job."""

    def room(self) -> int:
        """The number of chunks that may be taken now; `ALL` means no limit."""

    def receive(self, first: int, items: int, outcomes: Outcomes) -> None:
        """Called with a chunk's outcomes; `first` is the index of its first item."""

    def fail(self, error: BaseException, at: int | None = None) -> None:
        """Called with an error of the iterable after `at` items, or (`at` is None) of the pool."""

    def complete(self, count: int) -> None:
        """Called when the iterable has ended after `count` items."""


class Job:
    """The work of one method call: the chunks still to send, and the receiver of outcomes."""

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
        self.encoded = encoded  # if not, making a chunk may run the caller's own code
        self.exhausted = False
        self.taken = 0  # items

    @classmethod
    def of(cls, chunk: Chunk, result: Receiver) -> "Job":
        """A job of one chunk."""
        return cls(iter([chunk]), result, chunk.function, total=chunk.items, encoded=True)

    @property
    def lazy(self) -> bool:
        """True for `imap`, which goes on after an error and reads its iterable as results are read."""
        return self._total is None

    def take(self, at_most: int) -> tuple[list[Chunk], Exception | None]:
        """The next chunks, and the exception if the caller's iterable raised one."""
        chunks: list[Chunk] = []
        try:
            # Take chunks one by one, so that the chunks before an error are still sent.
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
    """Cut an iterable into chunks of one size."""
    iterator = iter(items)
    first = 0
    while batch := list(itertools.islice(iterator, size)):
        yield Chunk(first, len(batch), *encode(func, mode, batch))
        first += len(batch)


def cut_sequence(
    func: Callable[..., Any], mode: Mode, items: Sequence[Any], sizes: Sizes
) -> Iterator[Chunk]:
    """Cut a list or a range into chunks, each made only when it is sent."""
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
    """The contents of a chunk: function name, payload, and the text of its arguments."""
    name, payload = encoding.encode_call(func, mode, items)
    return name, payload, *encoding.arguments_repr(mode, items)

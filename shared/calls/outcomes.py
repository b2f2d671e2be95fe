"""What became of the items of a call, on their way from the worker to the caller."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from shared.calls import codec, exceptions
from shared.calls.parcels import Purpose
from shared.errors import NotPortable


class Outcome(NamedTuple):
    """What became of one item: its value, or its error and the remote traceback."""

    ok: bool
    value: Any
    traceback: str = ""
    broken: bool = False  # the pool's initializer failed

    def result(self) -> Any:
        """The value; raises the error, the remote traceback as its cause."""
        if self.ok:
            return self.value
        raise self.error()

    def error(self) -> BaseException:
        """The error, the remote traceback as its cause."""
        error: BaseException = self.value
        return exceptions.with_traceback(error, self.traceback) if self.traceback else error


class Outcomes:
    """What became of a chunk's items, in their order; one that failed may be the last.

    The values lie side by side, an error where one failed: most chunks have none, and need no
    object for each item.
    """

    def __init__(
        self, values: list[Any], failed: dict[int, Outcome] | None = None, seconds: float = 0.0
    ) -> None:
        self.values = values
        self.failed = failed or {}
        self.seconds = seconds  # that they took to run
        self.size_bytes = 0  # on the way back

    @classmethod
    def of(cls, *outcomes: Outcome) -> "Outcomes":
        """These."""
        failed = {index: one for index, one in enumerate(outcomes) if not one.ok}
        return cls([one.value for one in outcomes], failed)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Outcome]:
        for index, value in enumerate(self.values):
            yield self.failed.get(index) or Outcome(True, value)

    def __getitem__(self, index: int) -> Outcome:
        value = self.values[index]
        return self.failed.get(index % len(self.values)) or Outcome(True, value)


def decode_outcomes(payload: bytes, items: int | None = None) -> Outcomes:
    """The outcomes of a chunk, of so many items if that is known; `NotPortable` for bytes that hold none."""
    found = codec.loads(payload)
    if not _is_right(found, items):
        raise NotPortable("an answer", "it does not hold the outcomes of what was called")
    values, failed, seconds = found
    outcomes = Outcomes(
        values,
        {index: Outcome(False, values[index], *parts) for index, parts in failed.items()},
        seconds,
    )
    outcomes.size_bytes = len(payload)
    return outcomes


def _is_right(found: Any, items: int | None) -> bool:
    if type(found) is not list or len(found) != 3:
        return False
    values, failed, seconds = found
    if not (type(values) is list and type(failed) is dict and type(seconds) in (int, float)):
        return False
    # An error may end its chunk.
    if not values or (items is not None and len(values) > items):
        return False
    if not failed and items not in (None, len(values)):
        return False
    return all(
        type(index) is int
        and 0 <= index < len(values)
        and isinstance(values[index], BaseException)
        and type(parts) is list
        and [type(part) for part in parts] == [str, bool]
        for index, parts in failed.items()
    )


def encode_outcomes(outcomes: Outcomes) -> bytes:
    """The bytes of a chunk's outcomes; what cannot travel is an error that says so."""
    try:
        return _pack(outcomes)
    except Exception:
        # One of them cannot travel: find out which, the others keep their values.
        try:
            return _pack(Outcomes.of(*map(_portable, outcomes)))
        except Exception as refusal:
            # Together they are too much: the caller must hear at least that.
            return _pack(Outcomes.of(Outcome(False, refusal)))


def _pack(outcomes: Outcomes) -> bytes:
    failed = {index: [one.traceback, one.broken] for index, one in outcomes.failed.items()}
    return codec.dumps(
        [outcomes.values, failed, outcomes.seconds], what="the result", purpose=Purpose.ANSWER
    )


def _portable(outcome: Outcome) -> Outcome:
    try:
        codec.dumps(outcome.value, what="the result", purpose=Purpose.ANSWER)
    except Exception as refusal:
        if outcome.ok:
            return Outcome(False, refusal)
        name = f"{type(outcome.value).__module__}.{type(outcome.value).__qualname__}"
        error = exceptions.stand_in(name, str(outcome.value))
        return Outcome(False, error, outcome.traceback, outcome.broken)
    return outcome

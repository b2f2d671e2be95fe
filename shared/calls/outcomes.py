"""The outcomes of a call's items, which travel from the worker to the caller."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from shared.calls import codec, exceptions
from shared.calls.parcels import Purpose
from shared.errors import NotPortable


class Outcome(NamedTuple):
    """The outcome of one item: its value, or its error and the remote traceback."""

    ok: bool
    value: Any
    traceback: str = ""
    broken: bool = False  # the pool's initializer failed

    def result(self) -> Any:
        """The value. Raises the error, with the remote traceback as its cause."""
        if self.ok:
            return self.value
        raise self.error()

    def error(self) -> BaseException:
        """The error, with the remote traceback as its cause."""
        error: BaseException = self.value
        return exceptions.with_traceback(error, self.traceback) if self.traceback else error


class Outcomes:
    """The outcomes of a chunk's items, in order. After a failed item the rest may be missing.

    `values` holds a value, or the error, for each item. Most chunks have no error, so they need no
    object for each item.
    """

    def __init__(
        self, values: list[Any], failed: dict[int, Outcome] | None = None, seconds: float = 0.0
    ) -> None:
        self.values = values
        self.failed = failed or {}
        self.seconds = seconds  # the items' time to run
        self.size_bytes = 0  # the size of the reply

    @classmethod
    def of(cls, *outcomes: Outcome) -> "Outcomes":
        """The outcomes of a chunk from single outcomes."""
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
    """The outcomes in a reply. `items`: how many items the call had, if known.

    Raises `NotPortable` if the bytes are not the outcomes of such a call.
    """
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
    # After a failed item the rest of its chunk may be missing.
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
    """The bytes of a chunk's outcomes. A value that cannot be sent becomes a `NotPortable` error."""
    try:
        return _pack(outcomes)
    except Exception:
        # One value cannot be sent. Check each, so that the others keep their values.
        try:
            return _pack(Outcomes.of(*map(_portable, outcomes)))
        except Exception as refusal:
            # All together they are too large. Send at least that error.
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

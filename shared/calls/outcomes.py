"""What became of the items of a call, on their way from the worker to the caller."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from shared.calls import codec, exceptions


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


def decode_outcomes(payload: bytes) -> Outcomes:
    """The outcomes of a chunk."""
    values, failed, seconds = codec.loads(payload)
    outcomes = Outcomes(
        values,
        {index: Outcome(False, values[index], *parts) for index, parts in failed.items()},
        seconds,
    )
    outcomes.size_bytes = len(payload)
    return outcomes


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
    return codec.dumps([outcomes.values, failed, outcomes.seconds], what="the result")


def _portable(outcome: Outcome) -> Outcome:
    try:
        codec.dumps(outcome.value, what="the result")
    except Exception as refusal:
        if outcome.ok:
            return Outcome(False, refusal)
        name = f"{type(outcome.value).__module__}.{type(outcome.value).__qualname__}"
        error = exceptions.stand_in(name, str(outcome.value))
        return Outcome(False, error, outcome.traceback, outcome.broken)
    return outcome

"""Computes medians, spreads and ratios between systems from the figures of all rounds."""

import statistics
from dataclasses import dataclass

from bench.measures import Measure


@dataclass(frozen=True)
class Sample:
    """One figure of one round."""

    system: str
    measure: str
    round: int
    value: float


@dataclass(frozen=True)
class Summary:
    """The median, minimum, maximum and number of some figures."""

    median: float
    least: float
    greatest: float
    count: int

    @property
    def spread(self) -> float:
        """Half the range from minimum to maximum, as a share of the median."""
        return (self.greatest - self.least) / 2 / self.median if self.median else 0.0


def summarise(values: list[float]) -> Summary | None:
    """Return the summary of some values; None if there are none."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


class Results:
    """All samples of a run."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples
        self.systems = list(dict.fromkeys(sample.system for sample in samples))

    def of(self, system: str, measure: Measure) -> Summary | None:
        """Return the summary of a system's values in all rounds."""
        return summarise(list(self._by_round(system, measure).values()))

    def ratio(self, measure: Measure, ours: str, theirs: str) -> Summary | None:
        """Return how many times better the first system is than the second, round by round.

        Above 1, the first is faster or needs less. Rounds in which one of the two figures is
        missing or zero are left out.
        """
        first, second = self._by_round(ours, measure), self._by_round(theirs, measure)
        pairs = [(first[number], second[number]) for number in first.keys() & second.keys()]
        if not measure.more_is_better:
            pairs = [(b, a) for a, b in pairs]
        return summarise([a / b for a, b in pairs if a > 0 and b > 0])

    def verdict(self, measure: Measure, ours: str, theirs: str) -> str:
        """Return ``ours`` or ``theirs``, ``level`` if the rounds disagree, "" without figures."""
        ratio = self.ratio(measure, ours, theirs)
        if ratio is None:
            return ""
        if ratio.least > 1:
            return "ours"
        return "theirs" if ratio.greatest < 1 else "level"

    def _by_round(self, system: str, measure: Measure) -> dict[int, float]:
        return {
            sample.round: sample.value
            for sample in self.samples
            if sample.system == system and sample.measure == measure.key
        }

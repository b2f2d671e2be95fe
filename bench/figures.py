"""Medians, their spread, and ratios between systems, from what the rounds measured."""

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
    """The median of some figures, the least and the greatest of them, and how many there are."""

    median: float
    least: float
    greatest: float
    count: int

    @property
    def spread(self) -> float:
        """Half of what lies between least and greatest, as a share of the median."""
        return (self.greatest - self.least) / 2 / self.median if self.median else 0.0


def summarise(values: list[float]) -> Summary | None:
    """None where there is nothing."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


class Results:
    """All samples of a run."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples
        self.systems = list(dict.fromkeys(sample.system for sample in samples))

    def of(self, system: str, measure: Measure) -> Summary | None:
        """A system's values in all rounds."""
        return summarise(list(self._by_round(system, measure).values()))

    def ratio(self, measure: Measure, ours: str, theirs: str) -> Summary | None:
        """How many times better the first is than the second, round by round.

        Above 1 the first is faster, or needs less. Rounds that lack one of them do not count,
        nor does a figure of zero, with which nothing can be compared.
        """
        first, second = self._by_round(ours, measure), self._by_round(theirs, measure)
        pairs = [(first[number], second[number]) for number in first.keys() & second.keys()]
        if not measure.more_is_better:
            pairs = [(b, a) for a, b in pairs]
        return summarise([a / b for a, b in pairs if a > 0 and b > 0])

    def verdict(self, measure: Measure, ours: str, theirs: str) -> str:
        """Who is ahead: ``ours``, ``theirs``, ``level`` where the rounds disagree, or nothing."""
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

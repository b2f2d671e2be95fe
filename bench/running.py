"""The sessions of a run, one after the other: what they found, and what went wrong."""

import os
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.console import Console

from bench.figures import Sample
from bench.measures import Scale
from bench.rounds import Part
from bench.sessions import Failed
from bench.systems import System
from producer.stack import StackFailed

FORESEEN = (Failed, StackFailed)


class NothingMeasured(Exception):
    """Raised if a run has nothing to report."""


@dataclass
class Run:
    """The results of a run so far."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    interrupted: bool = False

    @property
    def load(self) -> float:
        """The machine's load at the beginning of a session, in the middle of all."""
        return statistics.median(self.loads) if self.loads else 0.0

    @property
    def status(self) -> int:
        """The exit code of the command."""
        return 130 if self.interrupted else int(bool(self.failures))


def run(
    sessions: Iterable[tuple[int, str, str]],
    systems: dict[str, System],
    parts: Mapping[str, Part],
    scale: Scale,
    console: Console,
) -> Run:
    """Measure, a line for each session; what fails or is interrupted is a line of the report.

    Raises `NothingMeasured`, or KeyboardInterrupt, where there would be nothing else in it.
    """
    found = Run()
    try:
        for number, part, name in sessions:
            found.loads.append(os.getloadavg()[0])
            started = time.monotonic()
            try:
                # What was found before a failure is kept.
                for key, value in parts[part](systems[name], scale):
                    found.samples.append(Sample(name, key, number, value))
                said = f"{time.monotonic() - started:.0f} s"
            except Exception as error:
                # Go on after any error, also of the bench itself, to measure the other systems.
                failure = str(error) if isinstance(error, FORESEEN) else repr(error)
                said = f"failed: {failure}"
                found.failures.append(f"{name}, {part}, round {number + 1}: {failure}")
            except KeyboardInterrupt:
                found.failures.append(f"interrupted in round {number + 1}, at {part} of {name}")
                raise
            console.print(f"round {number + 1}  {part}  {name}  {said}", highlight=False)
    except KeyboardInterrupt:
        if not found.samples:
            raise
        found.interrupted = True
        console.print("interrupted; what was measured so far:")
    if not found.samples:
        raise NothingMeasured("nothing was measured: each session failed")
    return found

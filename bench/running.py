"""Runs the sessions one after the other, and collects their figures and failures."""

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
        """The median of the machine's load at the beginning of each session."""
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
    """Run all sessions and print a line for each. The result lists failures and interruptions.

    Raises `NothingMeasured`, or KeyboardInterrupt, if there are no figures at all.
    """
    found = Run()
    try:
        for number, part, name in sessions:
            found.loads.append(os.getloadavg()[0])
            started = time.monotonic()
            try:
                # Keep the figures that were measured before a failure.
                for key, value in parts[part](systems[name], scale):
                    found.samples.append(Sample(name, key, number, value))
                said = f"{time.monotonic() - started:.0f} s"
            except Exception as error:
                # After any error, even one in the bench, continue with the other systems.
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

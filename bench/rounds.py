"""The parts of a round, and the order of the sessions."""

from collections.abc import Callable, Iterator

from bench.growth import growth
from bench.limits import limits
from bench.maps import maps
from bench.measures import Figures, Scale, calls, drain
from bench.systems import SIZES, Form, System

Part = Callable[[System, Scale], Figures]


def _drain(form: Form) -> Part:
    return lambda system, scale: drain(form, system, scale)


PARTS: dict[str, Part] = {
    **{f"drain {form}": _drain(form) for form in SIZES},
    "calls": calls,
    "growth": growth,
    "limits": limits,
    "maps": maps,
}
# The parts that compare with something else than another system.
OURS_ALONE = {"limits", "maps"}


def order(
    names: list[str], rounds: int, parts: list[str], fewer: dict[str, int] | None = None
) -> Iterator[tuple[int, str, str]]:
    """Round, part and system of each session; `fewer`: how many rounds a long part has.

    The systems follow one another in each part, so that whatever else the machine does hurts
    all alike; each round begins with another one.
    """
    for number in range(rounds):
        turn = number % len(names)
        for part in parts:
            if number >= (fewer or {}).get(part, rounds):
                continue
            for name in names[turn:] + names[:turn]:
                yield number, part, name

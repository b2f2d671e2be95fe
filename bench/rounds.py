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
# These parts do not compare Day Six with another system.
OURS_ALONE = {"limits", "maps"}


def order(
    names: list[str], rounds: int, parts: list[str], fewer: dict[str, int] | None = None
) -> Iterator[tuple[int, str, str]]:
    """Yield round, part and system of each session. `fewer` limits the rounds of long parts.

    In each part the systems run one after the other, so that other load on the machine affects
    all of them equally. Each round begins with a different system.
    """
    for number in range(rounds):
        turn = number % len(names)
        for part in parts:
            if number >= (fewer or {}).get(part, rounds):
                continue
            for name in names[turn:] + names[:turn]:
                yield number, part, name

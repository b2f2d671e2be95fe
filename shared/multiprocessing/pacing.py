"""How many chunks a pool may have in flight, and how many items go in each."""

import math
import sys
import time

from shared.calls.outcomes import Outcomes

# Where there is no bound.
ALL = sys.maxsize

_WINDOW_S = 0.1
_MOST_AHEAD = 1000


class Pace:
    """How many chunks of a pool may be out beside those that run.

    As many as were answered within the last tenth of a second: whoever is done finds the next
    one waiting, many travel together, and what runs for long has next to nothing waiting
    behind it, where it would be in the way of other callers.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._now = self._before = 0  # answers in this window, and in the one before

    def answered(self) -> None:
        """Count one."""
        self._turn()
        self._now += 1

    def ahead(self) -> int:
        """How many."""
        self._turn()
        return min(max(self._now, self._before), _MOST_AHEAD)

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._since >= _WINDOW_S:
            self._before = self._now if now - self._since < 2 * _WINDOW_S else 0
            self._now = 0
            self._since = now


# A chunk's own cost is about a millisecond of a processor: it is to last ten times that, and
# no longer than ten times that again.
_LEAST_S, _MOST_S = 0.01, 0.1
_MOST_BYTES = 1_000_000
_MOST_PROBED = 32


class Sizes:
    """How many items of a `map` go in each of its chunks.

    What `chunksize` says; without it, first a few to each place, to see how long they take.
    Then as many as run for a tenth of a second, no more than a place's share, fewer near the
    end, so that nobody waits for the last ones alone, but not so few that sending them costs
    more than they do.
    """

    def __init__(self, total: int, places: int, chunksize: int | None) -> None:
        self.sent = 0  # chunks
        self.given = chunksize
        self._places = places
        self._total = total
        self._item_s = self._item_bytes = 0.0
        self._answered = False

    def next(self, left: int) -> int:
        """How many items, of those that are left."""
        if self.given is not None:
            return self.given
        if not self._answered:
            return min(math.ceil(self._total / (64 * self._places)), _MOST_PROBED)
        share = math.ceil(left / (2 * self._places))
        least = _LEAST_S / self._item_s if self._item_s else left
        most = min(
            10 * least,
            _MOST_BYTES / self._item_bytes if self._item_bytes else left,
            math.ceil(self._total / max(4, self._places)),
        )
        return max(1, int(min(max(share, least), most)))

    def note(self, outcomes: Outcomes) -> None:
        """Learn from a chunk that came back."""
        if outcomes.seconds:  # not those of a call that never ran
            # The latest counts as much as all before it.
            item_s = outcomes.seconds / len(outcomes)
            self._item_s = (self._item_s + item_s) / 2 if self._item_s else item_s
        self._item_bytes = max(self._item_bytes, outcomes.size_bytes / len(outcomes))
        self._answered = True

    def room(self) -> int:
        """How many chunks may be sent."""
        if self.given is not None or self._answered:
            return ALL
        return self._places - self.sent

"""Limits the chunks that a pool has in flight, and the items in each chunk."""

import math
import sys
import time

from shared.calls.outcomes import Outcomes

# Stands for "no limit".
ALL = sys.maxsize

_WINDOW_S = 0.1
_MOST_AHEAD = 1000


class Pace:
    """The number of a pool's chunks that may wait in the queue, besides the running ones.

    The number is that of the answers within the last tenth of a second. So a free worker finds
    the next chunk waiting, and many chunks travel together. Behind long calls almost nothing
    waits, so they do not delay other callers.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._now = self._before = 0  # answers in this window, and in the one before

    def answered(self) -> None:
        """Count one answer."""
        self._turn()
        self._now += 1

    def ahead(self) -> int:
        """The number of chunks that may wait now."""
        self._turn()
        return min(max(self._now, self._before), _MOST_AHEAD)

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._since >= _WINDOW_S:
            self._before = self._now if now - self._since < 2 * _WINDOW_S else 0
            self._now = 0
            self._since = now


# Sending a chunk costs about 1 ms of processor time. So a chunk should run for 10 ms to 100 ms.
_LEAST_S, _MOST_S = 0.01, 0.1
_MOST_BYTES = 1_000_000
_MOST_PROBED = 32


class Sizes:
    """The number of items of a `map` in each chunk.

    With `chunksize`, always so many. Without, the first chunks are small, to measure how long an
    item takes. Later chunks run for up to a tenth of a second, and hold at most one slot's share
    of the items. Chunks shrink near the end, so that the workers finish together, but not so far
    that sending them costs more than running them.
    """

    def __init__(self, total: int, places: int, chunksize: int | None) -> None:
        self.sent = 0  # chunks
        self.given = chunksize
        self._places = places
        self._total = total
        self._item_s = self._item_bytes = 0.0
        self._answered = False

    def next(self, left: int) -> int:
        """The number of items in the next chunk, if `left` items are left."""
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
        """Learn the items' duration and size from a chunk's outcomes."""
        if outcomes.seconds:  # zero for a call that never ran
            # The latest chunk counts as much as all before it.
            item_s = outcomes.seconds / len(outcomes)
            self._item_s = (self._item_s + item_s) / 2 if self._item_s else item_s
        self._item_bytes = max(self._item_bytes, outcomes.size_bytes / len(outcomes))
        self._answered = True

    def room(self) -> int:
        """The number of chunks that may be sent now."""
        if self.given is not None or self._answered:
            return ALL
        return self._places - self.sent

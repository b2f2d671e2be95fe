"""When a task may start a process, by what workers say of themselves."""

import pytest

from shared.broker import presence
from shared.broker.presence import Worker
from shared.errors import DaySixError
from shared.multiprocessing import process
from shared.pools import PoolKind


@pytest.fixture
def running(monkeypatch):
    """How many tasks the one worker says it runs, one figure for each look; the last one stays."""
    figures = []

    def workers():
        number = figures.pop(0) if len(figures) > 1 else figures[0]
        return [
            Worker(
                *("prefork@here", "prefork"),
                concurrency=2,
                pid=1,
                running=number,
                queues=("prefork",),
            )
        ]

    monkeypatch.setattr(presence, "workers", workers)
    monkeypatch.setattr(process, "_ROOM_EVERY_S", 0.01)
    monkeypatch.setattr(process, "_ROOM_WITHIN_S", 0.05)
    return figures


@pytest.fixture
def remote():
    started = object.__new__(process._Remote)
    started._kind = PoolKind.PREFORK
    return started


def test_a_place_that_is_free_a_moment_later_is_waited_for(running, remote):
    running += [2, 2, 1]

    remote._check_room()

    assert running == [1]


def test_where_every_place_stays_taken_it_is_refused(running, remote):
    running += [2]

    with pytest.raises(DaySixError, match="every place is taken"):
        remote._check_room()

"""The prefork pool: what it does with processes that have ended."""

import pytest

from worker.pools.prefork import AsynPool


class Process:
    """A process of the pool."""


class Hub:
    """Celery's event loop, which watches files."""

    def add_reader(self, descriptor, *_):
        raise ValueError(f"watched {descriptor}")


def pool(processes):
    pool = object.__new__(AsynPool)
    pool._processes = processes
    return pool


def test_a_process_that_has_ended_is_not_watched_again():
    ended = Process()
    ended._sentinel_poll = None

    pool(1)._track_child_process(ended, Hub())


def test_a_process_that_lives_is_watched():
    alive = Process()
    alive._sentinel_poll = 7

    with pytest.raises(ValueError, match="watched 7"):
        pool(1)._track_child_process(alive, Hub())


def test_more_processes_than_there_are_cannot_go():
    with pytest.raises(ValueError, match="has only 2 processes"):
        pool(2).shrink(3)

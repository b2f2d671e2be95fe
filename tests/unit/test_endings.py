"""Threads that end before the interpreter does."""

import threading

import pytest

from shared import endings
from shared.endings import Background


@pytest.fixture
def running(monkeypatch):
    mine = []
    monkeypatch.setattr(endings, "_running", mine)
    return mine


def waiting(name, ended):
    told = threading.Event()

    def wait():
        told.wait()
        ended.append(name)

    return Background(wait, name, end=told.set)


def test_all_are_ended_and_the_last_one_that_began_first(running):
    ended = []
    for name in ("first", "second", "third"):
        waiting(name, ended).start()

    endings.end_threads()

    assert ended == ["third", "second", "first"]


def test_one_that_does_not_end_is_not_waited_for_for_ever(running, monkeypatch):
    monkeypatch.setattr(endings, "_ALL_END_WITHIN_S", 0.1)
    ended, never = [], threading.Event()
    waiting("first", ended).start()
    stubborn = Background(never.wait, "stubborn", end=lambda: None)
    stubborn.start()

    endings.end_threads()

    assert ended in ([], ["first"])
    assert stubborn.is_alive()
    never.set()


def test_threads_that_have_ended_are_forgotten(running):
    ended = []
    for name in ("first", "second"):
        thread = waiting(name, ended)
        thread.start()
        thread.end()

    assert len(running) == 1

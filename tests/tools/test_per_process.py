"""One object for each process, whoever asks, and another one in a forked child."""

import itertools
import multiprocessing
import threading

from shared.broker.per_process import PerProcess
from tests.support import patient


def test_all_threads_get_one_object():
    entered, made = threading.Barrier(8), itertools.count()
    one, found = PerProcess(lambda: next(made) + 1), []

    def ask():
        entered.wait(patient(10))
        found.append(one())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(10))

    assert found == [1] * 8


def test_nothing_is_made_before_it_is_asked_for():
    one = PerProcess(object)

    assert one.existing() is None
    assert one() is one.existing() is one()


def test_a_forked_child_gets_its_own_also_while_another_thread_was_making_one():
    making, go_on = threading.Event(), threading.Event()
    wait = [True]

    def make():
        if wait:
            making.set()
            go_on.wait(patient(10))
        return object()

    one = PerProcess(make)
    other = threading.Thread(target=one)
    other.start()
    making.wait(patient(10))
    wait.clear()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    child = context.Process(target=lambda: there.send((one.existing() is None, one() is one())))
    child.start()
    answered = here.poll(patient(10))
    child.kill()
    child.join()
    go_on.set()
    other.join()

    assert answered
    assert here.recv() == (True, True)

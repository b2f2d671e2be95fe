"""What a worker makes of what a pool tells it of a task."""

import pytest
from billiard.exceptions import WorkerLostError
from celery.concurrency.base import apply_target

from worker.requests import Request


@pytest.fixture
def request_and_told():
    """A request as Celery makes one for each task, and what it was told."""
    told = []

    class OfATask(Request):
        def on_success(self, ended):
            told.append(ended)

        def on_failure(self, info):
            told.append(info.exception.exc)

    return OfATask.__new__(OfATask), told


def test_a_task_that_exits_is_a_lost_worker(request_and_told):
    request, told = request_and_told

    apply_target(exit, (3,), callback=request.on_success)

    assert [type(error) for error in told] == [WorkerLostError]


def test_a_task_that_ends_is_told_as_it_ended(request_and_told):
    request, told = request_and_told

    apply_target(divmod, (7, 2), callback=request.on_success)

    assert told == [(3, 1)]

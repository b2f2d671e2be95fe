"""Which queue a running task came from, whatever its message says."""

import pytest

from shared.broker.messages import queue_of


@pytest.mark.parametrize(
    "odd",
    [None, {}, {"routing_key": None}, {"routing_key": ["a"]}, {"routing_key": ("a", "b")}, [], "x"],
)
def test_an_odd_delivery_names_no_queue(odd):
    assert queue_of(odd) == "unknown"


def test_a_delivery_names_its_queue():
    assert queue_of({"routing_key": "threads"}) == "threads"

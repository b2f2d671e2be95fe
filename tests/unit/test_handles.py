"""Handles without a server: they are names, and connect to nothing."""

import copy
import ctypes

import pytest

from shared.calls import codec
from shared.errors import NotPortable
from shared.handles import base
from shared.multiprocessing import barriers, items, managers, queues, synchronize
from shared.multiprocessing.sharedctypes import RawValue

MAKERS = [
    queues.Queue,
    lambda: queues.Queue(3),
    queues.JoinableQueue,
    queues.SimpleQueue,
    synchronize.Lock,
    synchronize.RLock,
    lambda: synchronize.Semaphore(3),
    lambda: synchronize.BoundedSemaphore(3),
    synchronize.Condition,
    lambda: synchronize.Condition(synchronize.Lock()),
    synchronize.Event,
    lambda: barriers.Barrier(2, timeout=1.5),
    managers.LockProxy,
    managers.RLockProxy,
    managers.SemaphoreProxy,
    managers.BoundedSemaphoreProxy,
    managers.ConditionProxy,
    managers.EventProxy,
    lambda: managers.BarrierProxy(2),
    managers.QueueProxy,
    managers.JoinableQueueProxy,
]


def described(handle):
    parts = handle.__handle__()
    return [described(part) if hasattr(part, "__handle__") else part for part in parts[2]] + parts[
        :2
    ]


@pytest.mark.parametrize("make", MAKERS)
def test_a_handle_travels_as_kind_name_and_parameters(make):
    handle = make()

    arrived = codec.loads(codec.dumps({"x": [handle]}))["x"][0]
    local = copy.copy(handle)  # what a local process gets

    assert type(arrived) is type(local) is type(handle)
    assert described(arrived) == described(local) == described(handle)


def test_every_kind_has_a_class_that_says_so():
    for kind in base._KINDS:
        assert base.find_class(kind)._kind == kind


def test_the_handles_in_a_value_are_found():
    inner = synchronize.Lock()
    condition = synchronize.Condition(inner)

    item = items.encode([1, {"c": condition}])

    names = item[1 : item.index(b"\0")].decode().split(",")
    assert names == [condition._name, inner._name]
    assert items.encode([1]) == b"\0" + codec.dumps([1])


@pytest.mark.parametrize("message", [["os:system", "x", []], ["", "x", []], ["list ", "x", []]])
def test_a_kind_that_is_none_is_refused(message):
    with pytest.raises(NotPortable, match="unknown kind"):
        base.rebuild(*message)


@pytest.mark.parametrize("kind", [ctypes.c_void_p, ctypes.c_char_p, int])
def test_a_type_with_an_address_is_refused_before_anything_is_stored(kind):
    with pytest.raises(TypeError):
        RawValue(kind)


def test_sizes_that_make_no_sense_are_refused():
    for wrong in (lambda: barriers.Barrier(0), lambda: synchronize.Semaphore(-1)):
        with pytest.raises(ValueError, match=r"parties|value"):
            wrong()

"""Managed objects: what the standard library's proxies do, atomically, on any machine."""

import array
import copy
import enum
import os
import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls import codec
from shared.errors import HandleLost, NotPortable
from shared.handles import base
from shared.multiprocessing import managers
from shared.multiprocessing.managers import Manager
from shared.multiprocessing.queues import Queue
from tests.handles.processes import fork, join, spawn, start
from tests.handles.redis_only import redis_only, short_leases
from tests.support import leased, wait_until

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only", "short_leases"]


@pytest.fixture
def manager():
    with Manager() as manager:
        yield manager


# Lists.

NUMBERS = st.integers(-3, 12)
INDEXES = st.integers(-6, 6)
SLICES = st.builds(
    slice,
    st.none() | INDEXES,
    st.none() | INDEXES,
    st.none() | st.sampled_from([-2, -1, 1, 2]),
)
LIST_STEPS = st.one_of(
    st.tuples(st.just("append"), NUMBERS),
    st.tuples(st.just("extend"), st.lists(NUMBERS, max_size=3)),
    st.tuples(st.just("insert"), INDEXES, NUMBERS),
    st.tuples(st.just("pop")),
    st.tuples(st.just("pop"), INDEXES),
    st.tuples(st.just("remove"), NUMBERS),
    st.tuples(st.just("index"), NUMBERS),
    st.tuples(st.just("count"), NUMBERS),
    st.tuples(st.just("reverse")),
    st.tuples(st.just("sort")),
    st.tuples(st.just("__getitem__"), INDEXES | SLICES),
    st.tuples(st.just("__setitem__"), INDEXES, NUMBERS),
    st.tuples(st.just("__setitem__"), SLICES, st.lists(NUMBERS, max_size=3)),
    st.tuples(st.just("__delitem__"), INDEXES | SLICES),
    st.tuples(st.just("__len__")),
    st.tuples(st.just("__contains__"), NUMBERS),
    st.tuples(st.just("__add__"), st.lists(NUMBERS, max_size=2)),
    st.tuples(st.just("__mul__"), st.integers(0, 2)),
    st.tuples(st.just("__imul__"), st.integers(0, 2)),
)


def outcome(target, step):
    """What a call returned, or its error, type and text."""
    name, *arguments = step
    try:
        result = getattr(target, name)(*arguments)
    except (IndexError, KeyError, ValueError, TypeError) as error:
        return type(error)
    return "itself" if result is target else result


@given(start=st.lists(NUMBERS, max_size=6), steps=st.lists(LIST_STEPS, max_size=12))
def test_a_list_behaves_as_a_list(redis_only, start, steps):
    with Manager() as manager:
        ours, model = manager.list(start), list(start)

        for step in steps:
            assert outcome(ours, step) == outcome(model, step), step
            assert ours[:] == model, step

        assert str(ours) == str(model)
        assert list(reversed(ours)) == model[::-1]
        assert list(ours) == model


def test_a_list_sorts_with_a_key_and_stays_stable(manager):
    values = manager.list(["bb", "a", "cc", "d"])

    values.sort(key=len, reverse=True)

    assert values[:] == ["bb", "cc", "a", "d"]
    values += ["e"]
    assert values[-1] == "e"


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
def test_changes_by_many_processes_are_all_there(manager, context):
    values = manager.list()
    processes = [start(context, change, values, number) for number in range(3)]

    join(*processes)

    assert sorted(values) == sorted(list(range(3)) * 20)


def change(values, number):
    """Append, insert and extend, and whole-list operations that must lose nobody's change."""
    chance = random.Random(number)
    for _ in range(10):
        values.append(number)
        values.insert(chance.randrange(5), number)
        values.reverse()
        values.sort()


def test_each_item_is_removed_by_one_only(manager):
    """The tutorial's nine threads, with the race cured by the list itself."""
    values, errors, moved = manager.list(range(30)), [], manager.list()

    def work():
        for item in range(30):
            try:
                values.remove(item)
                moved.append(item)
            except ValueError as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(moved) == list(range(30))
    assert len(errors) == 90
    assert not values


def test_what_a_list_cannot_hold_is_refused(manager):
    values = manager.list([1])

    with pytest.raises(NotPortable):
        values.append(lambda: None)

    assert values[:] == [1]


# Dicts.

KEYS = st.sampled_from([0, 1, True, 1.0, "1", b"1", (1, 2), (1.0, 2), None, "a", frozenset({1})])
DICT_STEPS = st.one_of(
    st.tuples(st.just("__setitem__"), KEYS, NUMBERS),
    st.tuples(st.just("__getitem__"), KEYS),
    st.tuples(st.just("__delitem__"), KEYS),
    st.tuples(st.just("__contains__"), KEYS),
    st.tuples(st.just("__len__")),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("get"), KEYS, NUMBERS),
    st.tuples(st.just("pop"), KEYS),
    st.tuples(st.just("pop"), KEYS, NUMBERS),
    st.tuples(st.just("popitem")),
    st.tuples(st.just("setdefault"), KEYS, NUMBERS),
    st.tuples(st.just("update"), st.dictionaries(KEYS, NUMBERS, max_size=3)),
    st.tuples(st.just("clear")),
)


@given(start=st.dictionaries(KEYS, NUMBERS, max_size=4), steps=st.lists(DICT_STEPS, max_size=12))
def test_a_dict_behaves_as_a_dict(redis_only, start, steps):
    with Manager() as manager:
        ours, model = manager.dict(start), dict(start)

        for step in steps:
            assert outcome(ours, step) == outcome(model, step), step
            # The same keys of the same types, in the same order.
            assert str(ours) == str(model), step

        assert ours.items() == list(model.items())
        assert ours.keys() == list(model) == list(ours)
        assert ours.values() == list(model.values())
        assert ours.copy() == model


class Colour(enum.StrEnum):
    RED = "red"


def test_equal_keys_are_one_key_whatever_their_type(manager):
    from decimal import Decimal
    from fractions import Fraction

    d = manager.dict()
    d["red"], d[2], d[float("inf")], d[0.5], d[1j] = 1, 2, 3, 4, 5

    assert d[Colour.RED] == 1
    assert d[Decimal(2)] == d[Fraction(2)] == d[2 + 0j] == 2
    assert d[Decimal("inf")] == 3
    assert d[Decimal("0.5")] == d[Fraction(1, 2)] == 4
    assert d[1j] == 5
    with pytest.raises(TypeError, match="unhashable"):
        d[[]] = 1


def test_a_dict_iterates_and_notices_a_change_of_size(manager):
    d = manager.dict(a=1, b=2)
    keys = iter(d)

    assert next(keys) == "a"
    d["c"] = 3
    with pytest.raises(RuntimeError, match="changed size"):
        next(keys)


def test_setdefault_is_won_by_one(manager):
    d, seen = manager.dict(), Queue()
    processes = [start(fork, set_defaults, d, seen, number) for number in range(4)]

    join(*processes)

    assert len({seen.get() for _ in processes}) == 1


def set_defaults(d, seen, number):
    seen.put(tuple(d.setdefault(key, number) for key in range(40)))


def test_pop_gives_each_value_to_one(manager):
    d, won = manager.dict(dict.fromkeys(range(40), "value")), Queue()
    processes = [start(fork, pop_all, d, won) for _ in range(4)]

    join(*processes)

    assert sum(won.get() for _ in processes) == 40
    assert len(d) == 0


def pop_all(d, won):
    won.put(sum(d.pop(key, None) is not None for key in range(40)))


# Namespaces, values, arrays.


def test_a_namespace(manager):
    space = manager.Namespace(x=1)
    space.y = (2, 3)
    space._private = "here only"

    twin = codec.loads(codec.dumps(space))

    assert (twin.x, twin.y) == (1, (2, 3))
    assert str(twin) == "Namespace(x=1, y=(2, 3))"
    assert not hasattr(twin, "_private")
    del twin.x
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        space.x  # noqa: B018 - reading it is the test


def test_a_value_and_an_array(manager):
    value, numbers = manager.Value("i", 1), manager.Array("h", [1, 2, 3])
    value.value += 1
    numbers[0] = -5
    numbers[1:] = array.array("h", [7, 8])

    assert value.get() == 2
    assert str(value) == "Value('i', 2)"
    assert list(numbers) == [-5, 7, 8]
    assert numbers[:2] == array.array("h", [-5, 7])
    with pytest.raises(OverflowError):
        numbers[0] = 1 << 20
    with pytest.raises(IndexError):
        numbers[9] = 1


# Locks, events and queues behave as those of threading and queue.


def test_managed_locks_raise_what_threading_raises(manager):
    lock, rlock, semaphore = manager.Lock(), manager.RLock(), manager.BoundedSemaphore(1)
    condition = manager.Condition()

    with pytest.raises(RuntimeError):
        lock.release()
    with pytest.raises(RuntimeError):
        rlock.release()
    with pytest.raises(ValueError):
        semaphore.release()
    with pytest.raises(ValueError, match="non-blocking"):
        lock.acquire(False, 1)
    with pytest.raises(RuntimeError):
        condition.wait()
    assert lock.acquire(blocking=True, timeout=1)
    assert not lock.acquire(True, 0.05)
    lock.release()


def test_a_managed_queue_is_a_queue_queue(manager):
    q = manager.Queue(1)
    q.put(1)

    with pytest.raises(ValueError, match="non-negative"):
        q.put(2, timeout=-1)
    assert q.get() == 1
    q.task_done()
    q.join()
    with pytest.raises(ValueError):
        q.task_done()


@pytest.mark.parametrize(
    ("make", "looks"),
    [
        (lambda m: m.list(), "<ListProxy object, typeid 'list' at 0x"),
        (lambda m: m.dict(), "<DictProxy object, typeid 'dict' at 0x"),
        (lambda m: m.Namespace(), "<NamespaceProxy object, typeid 'Namespace' at 0x"),
        (lambda m: m.Value("i", 0), "<ValueProxy object, typeid 'Value' at 0x"),
        (lambda m: m.Array("i", []), "<ArrayProxy object, typeid 'Array' at 0x"),
        (lambda m: m.Lock(), "<AcquirerProxy object, typeid 'Lock' at 0x"),
        (lambda m: m.RLock(), "<AcquirerProxy object, typeid 'RLock' at 0x"),
        (lambda m: m.Semaphore(), "<AcquirerProxy object, typeid 'Semaphore' at 0x"),
        (lambda m: m.Event(), "<EventProxy object, typeid 'Event' at 0x"),
        (lambda m: m.Condition(), "<ConditionProxy object, typeid 'Condition' at 0x"),
        (lambda m: m.Barrier(2), "<BarrierProxy object, typeid 'Barrier' at 0x"),
        (lambda m: m.Queue(), "<AutoProxy[Queue] object, typeid 'Queue' at 0x"),
    ],
)
def test_each_looks_as_the_standard_librarys_and_travels(manager, make, looks):
    proxy = make(manager)

    twin = codec.loads(codec.dumps([proxy]))[0]

    assert repr(proxy).startswith(looks)
    assert type(twin) is type(proxy)
    assert twin._name == proxy._name
    assert twin != proxy  # proxies compare by identity, as in the standard library


# Nesting, leases, managers.


def test_proxies_nest(manager):
    inner = manager.list([1])
    outer = manager.dict(inner=inner, plain=[1])

    outer["inner"].append(2)
    outer["plain"].append(2)

    assert inner[:] == [1, 2]
    assert outer["plain"] == [1]  # a copy
    assert "ListProxy" in str(outer)
    assert copy.deepcopy(inner) == [1, 2]
    inner.append(inner)
    assert inner[2][0] == 1


def test_a_handle_in_a_dict_survives_the_loss_of_the_local_one(short_leases):
    with Manager() as manager:
        d = manager.dict()
        d["list"] = manager.list([1, 2])
        d["deeper"] = manager.list([manager.dict(q=filled_queue())])

        time.sleep(leased(5))

        assert d["list"][:] == [1, 2]
        assert d["deeper"][0]["q"].get_nowait() == "x"


def filled_queue():
    q = Queue()
    q.put("x")
    return q


def test_a_handle_that_was_replaced_in_a_dict_disappears(short_leases):
    with Manager() as manager:
        d = manager.dict(a=filled_queue())
        name = d["a"]._name
        d["a"] = None

        gone = wait_until(lambda: not short_leases.client.keys(f"{name}*"), leased(6))

        assert gone
        assert not short_leases.client.exists(f"{d._name}:refs")


@pytest.mark.parametrize("change", ["pop", "clear", "del", "slice", "remove"])
def test_a_list_counts_the_handles_in_it(manager, redis_only, change):
    q = Queue()
    values = manager.list([q, [q], 1])
    refs = f"{values._name}:refs"
    before = redis_only.client.hget(refs, q._name)

    values.sort(key=lambda item: item == 1)
    kept = redis_only.client.hget(refs, q._name)
    match change:
        case "pop":
            values.pop(0)
            values.pop(0)
        case "clear":
            values.clear()
        case "del":
            del values[:2]
        case "slice":
            values[:] = [1]
        case "remove":
            del values[0]
            values[0] = 2

    assert before == kept == b"2"
    assert not redis_only.client.exists(refs)


def test_an_empty_list_stays_while_it_is_used_and_says_when_it_is_gone(short_leases):
    manager = Manager()
    values = manager.list()

    time.sleep(leased(3))
    values.append(1)
    manager.shutdown()

    with pytest.raises(HandleLost, match="HANDLE_LEASE_S"):
        len(values)
    assert "failed" in str(values)
    assert not short_leases.client.keys(f"{values._name}*")


def test_shutdown_removes_what_the_manager_made(redis_only):
    redis_only.client.flushall()
    with Manager() as manager:
        d = manager.dict(a=1)
        d["l"] = manager.list([1])
        manager.Queue().put(1)
        manager.Lock().acquire()
        manager.Value("i", 1)

    left = [
        key for key in redis_only.client.scan_iter() if not key.startswith((b"caller", b"bell"))
    ]
    assert left == []


def test_a_childs_copy_of_a_manager_removes_nothing(manager):
    values = manager.list([1])

    child = start(fork, manager.shutdown)
    join(child)

    assert values[:] == [1]


def test_a_manager_refuses_what_it_cannot_do():
    manager = managers.SyncManager()

    with pytest.raises(NotImplementedError, match="run the methods"):
        managers.SyncManager.register("Mine", dict)
    with pytest.raises(AssertionError, match="not yet started"):
        manager.list()
    manager.start()
    with pytest.raises(Exception, match="Already started"):
        manager.start()
    manager.shutdown()


def test_a_subclass_of_a_handle_does_not_travel_as_something_else():
    class Mine(Queue):
        pass

    with pytest.raises(NotPortable, match="subclass of Queue"):
        codec.dumps(Mine())


def test_only_known_kinds_are_made_from_a_message():
    with pytest.raises(NotPortable, match="unknown kind"):
        base.rebuild("os:system", "x", [])


def test_a_local_process_works_on_all_of_it(manager):
    d, lock = manager.dict(count=0), manager.Lock()
    processes = [start(spawn, count_in, d, lock) for _ in range(2)]

    join(*processes)

    assert d["count"] == 40
    assert len(d["pids"]) == 2


def count_in(d, lock):
    for _ in range(20):
        with lock:
            d["count"] += 1
    with lock:
        d["pids"] = [*d.get("pids", []), os.getpid()]

"""Shared values and arrays: the bytes that ctypes would have."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls import codec
from shared.errors import HandleLost
from shared.multiprocessing.queues import Queue
from shared.multiprocessing.sharedctypes import (
    Array,
    RawArray,
    RawValue,
    Value,
    copy,
    synchronized,
    typecode_to_type,
)
from shared.multiprocessing.synchronize import Lock
from tests.handles.processes import fork, join, spawn, start
from tests.handles.redis_only import redis_only, short_leases

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only", "short_leases"]


class Point(ctypes.Structure):
    """A structure that an allowed module defines, so it may travel."""

    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double), ("flag", ctypes.c_int, 3)]


class Line(ctypes.Structure):
    _fields_ = [("start", Point), ("end", Point), ("name", ctypes.c_char * 4)]

    def move(self, by):
        self.start.x += by
        self.end.x += by


class Grid(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_int * 3 * 2), ("lines", Line * 2)]


class Halves(ctypes.Union):
    _fields_ = [("whole", ctypes.c_uint16), ("parts", ctypes.c_uint8 * 2)]


class Named(ctypes.Structure):
    _anonymous_ = ("halves",)
    _fields_ = [("before", ctypes.c_int), ("halves", Halves), ("after", ctypes.c_int)]


INTEGERS = [code for code in typecode_to_type if code not in "cufd"]


@given(code=st.sampled_from(INTEGERS), number=st.integers(-(2**70), 2**70))
def test_integers_wrap_as_in_ctypes(redis_only, code, number):
    ours, model = RawValue(code), typecode_to_type[code]()

    ours.value = model.value = number

    assert ours.value == model.value


@pytest.mark.parametrize(
    ("code", "value"),
    [("d", 0.1), ("f", 0.1), ("c", b"x"), ("u", "ü"), (ctypes.c_bool, True), ("i", -7)],
)
def test_other_types_keep_what_ctypes_keeps(code, value):
    kind = typecode_to_type.get(code, code)

    assert Value(code, value).value == kind(value).value
    assert Value(code).value == kind().value


@pytest.mark.parametrize("bad", ["x", 1.5, None])
def test_what_ctypes_refuses_is_refused_the_same_way(bad):
    ours, model = RawValue("i", 3), ctypes.c_int(3)

    with pytest.raises(TypeError) as expected:
        model.value = bad
    with pytest.raises(TypeError) as raised:
        ours.value = bad

    assert str(raised.value) == str(expected.value)
    assert ours.value == 3


INDEXES = st.integers(-7, 7)
SLICES = st.builds(
    slice, st.none() | INDEXES, st.none() | INDEXES, st.none() | st.sampled_from([-2, -1, 1, 2])
)


@given(
    items=st.lists(st.integers(-9, 9), max_size=6),
    steps=st.lists(
        st.tuples(INDEXES | SLICES, st.integers(-9, 9) | st.lists(st.integers(-9, 9), max_size=6)),
        max_size=6,
    ),
)
def test_an_array_behaves_as_in_ctypes(redis_only, items, steps):
    ours, model = RawArray("i", items), (ctypes.c_int * len(items))(*items)

    for index, value in steps:
        for action in ("set", "get"):
            outcomes = []
            for target in (ours, model):
                try:
                    if action == "set":
                        target[index] = value
                        outcomes.append(None)
                    else:
                        outcomes.append(target[index])
                except (IndexError, ValueError, TypeError) as error:
                    outcomes.append((type(error), str(error)))
            assert outcomes[0] == outcomes[1], (action, index, value)

    assert list(ours) == list(model)
    assert len(ours) == len(model)


def test_characters_have_a_value_and_raw_bytes():
    ours, model = Array("c", 8), (ctypes.c_char * 8)()
    for value in (b"hello", b"ab", b"", b"12345678"):
        ours.value = model.value = value
        assert (ours.value, ours.raw) == (model.value, model.raw)
    ours.raw = model.raw = b"xyz"

    assert ours.raw == model.raw
    assert ours[1:3] == model[1:3]
    with pytest.raises(ValueError):
        ours.value = b"123456789"


def test_a_structures_fields_are_attributes():
    point = Value(Point, 3, 2.5)

    point.x *= 2
    point.flag = 9  # three bits
    twin = codec.loads(codec.dumps(point))

    assert (twin.x, twin.y, twin.flag) == (6, 2.5, Point(flag=9).flag)
    with pytest.raises(AttributeError):
        point.get_obj().z = 1


def count(value, times):
    for _ in range(times):
        with value.get_lock():
            value.value += 1


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
def test_counting_under_the_lock_is_exact(context):
    value = Value("i", 0)
    processes = [start(context, count, value, 50) for _ in range(3)]

    join(*processes)

    assert value.value == 150


def double(array):
    for index in range(len(array)):
        array[index] *= 2


def test_an_array_goes_to_a_local_process():
    array = Array("d", range(5))
    process = start(spawn, double, array)

    join(process)

    assert array[:] == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_the_lock_is_as_asked_for():
    lock = Lock()

    assert Value("i", lock=lock).get_lock() is lock
    assert not hasattr(Value("i", lock=False), "get_lock")
    assert not hasattr(Array("i", 3, lock=False), "get_obj")
    assert hasattr(Value("i", lock=None), "get_lock")
    with pytest.raises(AttributeError, match="acquire"):
        Array("i", 3, lock="no lock")
    with pytest.raises(AssertionError):
        synchronized(Value("i"))


def test_a_copy_is_another_object():
    first = RawValue("i", 1)
    second = copy(first)
    second.value = 2

    assert first.value == 1
    assert copy(Point(1, 2.0)).y == 2.0


@pytest.mark.parametrize("kind", [ctypes.c_void_p, ctypes.c_char_p, ctypes.py_object, int, "zz", 7])
def test_a_type_that_means_nothing_elsewhere_is_refused(kind):
    with pytest.raises(TypeError):
        RawValue(kind)


def test_everything_travels_in_a_queue():
    q = Queue()
    value, array, raw = Value("h", 5), Array("c", b"abc"), RawArray("l", [1, 2])
    q.put([value, array, raw])

    got = q.get()
    got[0].value, got[1][0], got[2][1] = 6, b"X", 7

    assert value.value == 6
    assert array.value == b"Xbc"
    assert raw[:] == [1, 7]
    assert got[0].get_lock()._name == value.get_lock()._name


def test_a_value_that_is_gone_says_so(redis_only):
    value = RawValue("i", 5)
    redis_only.client.delete(value._name)

    with pytest.raises(HandleLost):
        value.value  # noqa: B018 - reading it is the test


# What lies inside is changed in place, as in memory.


def square(points):
    for point in points:
        point.x **= 2
        point.y **= 2


def hold(points):
    first, again = points[0], points[0]
    first.x = 5
    again.x += 1
    again.flag, first.flag = 1, 3


def assign(points):
    points[0] = Point(7, 8)
    points[-1].y = points[0].y + 1
    points[1:3] = [Point(1, 1), Point(2, 2)]
    for point in points[1:]:
        point.x += 10


def inside(grid):
    grid.rows[1][2] = 9
    grid.rows[0][0:2] = [4, 5]
    grid.rows[1][-1] += 1
    grid.rows[0] = grid.rows[1]
    grid.lines[1].end.x = 3
    grid.lines[1].end.y += 0.5
    grid.lines[0].name = b"ab"
    grid.lines[0].start = Point(1, 2, 3)
    for line in grid.lines:
        line.move(2)


def halve(value):
    value.whole = 0x1234
    value.parts[0] ^= 0xFF


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Point * 4, square),
        (Point * 4, hold),
        (Point * 4, assign),
        (Grid, inside),
        (Line, lambda line: line.move(3)),
        (Halves, halve),
        (Named, halve),
        (ctypes.c_int * 3 * 2, lambda rows: rows[1].__setitem__(2, 9)),
        (ctypes.c_int * 3 * 2, lambda rows: [row.__setitem__(0, 7) for row in rows]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("locked", [True, False])
def test_a_change_inside_a_shared_object_is_a_change_of_it(kind, change, locked):
    model = kind()
    ctypes.memmove(ctypes.addressof(model), bytes(range(1, 200)), ctypes.sizeof(kind))
    if issubclass(kind, ctypes.Array):
        ours = RawArray(kind._type_, list(model))
    else:
        ours = RawValue(kind)
        ours._write(0, bytes(model))
    twin = codec.loads(codec.dumps(ours))

    change(synchronized(ours) if locked else ours)
    change(model)

    assert bytes(twin._load()) == bytes(model)


def test_an_item_is_of_its_class_and_shows_what_others_wrote():
    points = Array(Point, 2)
    first = points[0]

    points[0].x = 4

    assert isinstance(first, Point)
    assert first.x == 4
    with pytest.raises(TypeError):
        first.x = "no number"
    with pytest.raises(IndexError):
        points[2]

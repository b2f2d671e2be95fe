"""What may travel arrives exactly as it left; everything else is refused in one line."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import os
import pathlib
import re
import socket
import struct
import sys
import threading
import time
import tracemalloc
import uuid
import zoneinfo

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.calls import codec
from shared.errors import MessageTooLarge, NotAllowed, NotPortable
from tests.unit import shapes

REFUSALS = (NotPortable, NotAllowed, MessageTooLarge)


def round_trip(value):
    return codec.loads(codec.dumps(value))


def same(one, other):  # noqa: PLR0912 - one branch for each type
    """Whether two values are equal and of the same types, at every level."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (
            math.isnan(one) and math.isnan(other)
        )
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, enum.Enum):
        return one is other
    if dataclasses.is_dataclass(one):
        return same_items(list(vars(one).values()), list(vars(other).values()))
    if isinstance(one, dict):
        return same_items(one.items(), other.items())
    if isinstance(one, collections.deque):
        return one.maxlen == other.maxlen and same_items(one, other)
    if isinstance(one, (list, tuple)):
        return same_items(one, other)
    if isinstance(one, (set, frozenset)):
        left = list(other)
        for item in one:
            for index, candidate in enumerate(left):
                if same(item, candidate):
                    del left[index]
                    break
            else:
                return False
        return not left
    if isinstance(one, decimal.Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, (datetime.datetime, datetime.time)):
        return (
            one.replace(tzinfo=None) == other.replace(tzinfo=None)
            and one.fold == other.fold
            and same(one.tzinfo, other.tzinfo)
        )
    if isinstance(one, slice):
        return same((one.start, one.stop, one.step), (other.start, other.stop, other.step))
    if isinstance(one, range):
        return (one.start, one.stop, one.step) == (other.start, other.stop, other.step)
    return one == other


def same_items(ones, others):
    return len(ones) == len(others) and all(map(same, ones, others))


texts = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates, too
offsets = st.timedeltas(
    datetime.timedelta(hours=-23), datetime.timedelta(hours=23, microseconds=17)
).map(datetime.timezone)
zones = st.none() | st.sampled_from([zoneinfo.ZoneInfo("Europe/Berlin"), datetime.UTC]) | offsets
folds = st.sampled_from([0, 1])
integers = st.integers() | st.integers(2**63 - 2, 2**64 + 2) | st.integers(-(2**64), -(2**63) + 2)
hashable_atoms = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.complex_numbers(),
    texts,
    st.binary(max_size=20),
    st.builds(
        lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds
    ),
    st.dates(),
    st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.times(), zones, folds),
    st.timedeltas(),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.fractions(),
    st.uuids(),
    st.builds(range, integers, integers, st.integers(1, 9)),
    texts.filter(lambda text: "\0" not in text).map(pathlib.PosixPath),
    st.just(...),
    st.just(NotImplemented),
    st.sampled_from([*shapes.Colour, *shapes.Level, *shapes.Word]),
    st.builds(shapes.Frozen, texts),
)
hashables = st.recursive(
    hashable_atoms,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
atoms = st.one_of(
    hashable_atoms,
    st.binary(max_size=20).map(bytearray),
    st.builds(slice, st.none() | integers, st.none() | integers, st.none() | integers),
    st.just(decimal.Decimal("sNaN123")),
    st.sets(hashables, max_size=4),
    st.builds(collections.Counter, st.dictionaries(hashables, st.integers(), max_size=3)),
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=3).map(collections.OrderedDict),
        st.builds(collections.deque, st.lists(inner, max_size=4), st.none() | st.integers(0, 5)),
        st.builds(shapes.Point, inner, inner),
        st.builds(shapes.Pair, inner, inner),
        st.builds(slice, inner, inner),
    ),
    max_leaves=10,
)


@given(values)
@example(-0.0)
@example([float("nan"), float("inf"), -float("inf"), complex(-0.0, float("nan"))])
@example([2**63, 2**64, -(2**63), -(2**63) - 1, 10**5000])
@example({1: "int", 1.5: "float", "1": "str", b"1": "bytes", None: 0, (1, (2,)): 1})
@example([{"only": bytearray(b"in a dict")}, (bytearray(b"in a tuple"),)])
@example({True: 1, (1.0, True, 1): [True, 1, 1.0]})
@example("\ud800 \x00 \U0001f600")
@example(slice(None, (1, bytearray()), ...))
@example(collections.deque([1, 2, 3], maxlen=0))
def test_whatever_may_travel_arrives_equal_and_of_the_same_type_at_every_level(value):
    arrived = round_trip(value)

    assert same(arrived, value)


@given(st.dictionaries(hashables, st.integers(), max_size=8))
def test_a_dict_keeps_the_order_of_its_keys(value):
    arrived = round_trip(value)

    assert same(list(arrived), list(value))


@given(values)
def test_the_same_value_always_gives_bytes_of_the_same_value(value):
    once = round_trip(value)

    assert same(round_trip(once), value)


def test_what_arrives_is_a_copy_and_not_the_object_itself():
    value = [[1], {"a": bytearray(b"x")}]

    arrived = round_trip(value)
    arrived[0].append(2)
    arrived[1]["a"][0] = 0

    assert value == [[1], {"a": bytearray(b"x")}]


@pytest.mark.parametrize("shape", [list, tuple, dict])
def test_ninety_levels_are_not_too_deep(shape):
    value = nested(shape, 90)

    arrived = round_trip(value)

    assert arrived == value


def nested(shape, levels):
    value = shape()
    for _ in range(levels):
        value = {"inner": value} if shape is dict else shape([value])
    return value


# Objects of classes on the allow-list.


def stateful():
    return shapes.Stateful("s")


def slots():
    return shapes.Slots(left=(1, {2}))


def slots_and_dict():
    return shapes.SlotsAndDict(left=1, extra=[shapes.Colour.RED])


@pytest.mark.parametrize(
    "value",
    [
        shapes.Point(1.5, -0.0, ["a", (1,)]),
        shapes.Frozen("f"),
        shapes.FrozenSlots("f", 3),
        shapes.Pair(left=(1,), right=shapes.Pair({2}, None)),
        shapes.Colour.GREEN,
        shapes.Colour.CRIMSON,
        shapes.Level.HIGH,
        shapes.Word.YES,
        shapes.Rights.READ,
        shapes.Rights.READ | shapes.Rights.WRITE,
        shapes.Rights(0),
    ],
    ids=repr,
)
def test_an_object_of_an_allowed_class_arrives_equal_and_of_its_class(value):
    arrived = round_trip({"key": [value]})["key"][0]

    assert type(arrived) is type(value)
    assert arrived == value


@pytest.mark.parametrize("member", [shapes.Colour.RED, shapes.Level.LOW, shapes.Word.YES])
def test_an_enum_member_arrives_as_the_member_itself_also_as_a_key(member):
    arrived = round_trip({member: member})

    assert next(iter(arrived)) is member
    assert arrived[member] is member


@pytest.mark.parametrize(
    "make",
    [lambda: shapes.Point(1, 2), shapes.Point.Inner, stateful, slots, slots_and_dict],
    ids=["dataclass", "nested class", "getstate", "slots", "slots and dict"],
)
def test_init_is_not_called_where_an_object_arrives(make):
    value = make()
    shapes.constructed.clear()

    arrived = round_trip(value)

    assert type(arrived) is type(value)
    assert shapes.constructed == []


def test_slots_keep_their_values_and_unset_ones_stay_unset():
    arrived = round_trip(slots_and_dict())

    assert arrived.left == 1
    assert arrived.extra == [shapes.Colour.RED]
    assert not hasattr(arrived, "right")


def test_getstate_says_what_travels_and_setstate_gets_it():
    arrived = round_trip(stateful())

    assert vars(arrived) == {"secret": "s", "cache": "state"}


def test_attributes_added_to_an_object_travel_with_it():
    value = shapes.Frozen("f")
    object.__setattr__(value, "more", {1})

    arrived = round_trip(value)

    assert arrived.more == {1}


def test_a_subclass_of_tuple_keeps_its_attributes_or_is_refused():
    value = shapes.Tagged([1, 2])
    value.tag = "of the object"

    try:
        tag = round_trip(value).tag
    except NotPortable:
        tag = "refused"

    assert tag in ("of the object", "refused")


# Functions, classes, methods: by name.


@pytest.mark.parametrize(
    "target", [shapes.double, shapes.Point, shapes.Point.Inner, shapes.Point.unit, shapes.Colour]
)
def test_a_function_or_class_arrives_as_itself(target):
    arrived = round_trip([target])

    assert arrived == [target]


def test_a_bound_method_arrives_with_its_object():
    arrived = round_trip(shapes.Point(3, 4).length)

    assert arrived() == 5


def test_a_class_method_arrives_bound_to_its_class():
    arrived = round_trip(shapes.Point.origin)

    assert arrived() == shapes.Point(0, 0)


def test_a_partial_arrives_with_its_arguments():
    arrived = round_trip(functools.partial(shapes.Point, 1, y=(2,)))

    assert arrived() == shapes.Point(1, (2,))


# Exceptions.


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        KeyError((1, {2})),
        FileNotFoundError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        StopIteration(3),
        SystemExit(3),
        KeyboardInterrupt(),
        ExceptionGroup("group", [ValueError(1), KeyError(2)]),
        decimal.InvalidOperation("x"),
        socket.gaierror(1, "y"),
        shapes.Refused(7, hint="h"),
        shapes.TwoArguments("a", "b"),
        NotPortable("a", "b"),
        MessageTooLarge("a", 1, 2),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_as_its_class_with_arguments_attributes_and_text(error):
    arrived = round_trip(raised(error))

    assert type(arrived) is type(error)
    assert repr(arrived) == repr(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


@pytest.mark.parametrize("error", [shapes.Formatting(3), shapes.Wording(3)], ids=repr)
def test_an_exception_whose_init_makes_its_text_arrives_with_that_text(error):
    arrived = round_trip([1, error])

    assert arrived[0] == 1
    assert type(arrived[1]) is type(error)
    assert str(arrived[1]) == str(error)


def test_an_import_error_keeps_the_name_of_what_is_missing():
    arrived = round_trip(ModuleNotFoundError("No module named 'gone'", name="gone"))

    assert arrived.name == "gone"


def test_notes_of_an_exception_travel():
    error = ValueError("x")
    error.add_note("seen on Monday")

    arrived = round_trip(error)

    assert arrived.__notes__ == ["seen on Monday"]


def test_an_exception_of_an_unknown_class_arrives_as_a_stand_in_that_names_it():
    kind = type("Strange", (Exception,), {"__module__": "somewhere.else"})

    arrived = round_trip(kind("what", 3))

    assert type(arrived).__name__ == "RemoteError"
    assert "somewhere.else.Strange" in str(arrived)
    assert "what" in str(arrived)


# Refusals.


class Outside:
    """Its module is not on the allow-list."""


UNPORTABLE = {
    "lambda": (lambda: lambda: 1, "lambda"),
    "lambda of a module": (lambda: shapes.square, "lambda"),
    "closure": (lambda: shapes.called_elsewhere, "inside a function"),
    "function whose name is gone": (lambda: shapes.kept, "hidden"),
    "builtin function": (lambda: eval, "TASK_MODULES"),
    "function of os": (lambda: os.system, "TASK_MODULES"),
    "builtin class": (lambda: type, "TASK_MODULES"),
    "deep list": (lambda: nested(list, 5000), "too deeply"),
    "deep tuple": (lambda: nested(tuple, 5000), "too deeply"),
    "deep dict": (lambda: nested(dict, 5000), "too deeply"),
    "object of another module": (Outside, "TASK_MODULES"),
    "class of another module": (lambda: Outside, "TASK_MODULES"),
    "class under another name": (lambda: shapes.Misnamed(1, 2), "Other"),
    "extension type": (lambda: msgpack.ExtType(5, msgpack.packb("ff")), "ExtType"),
}


@pytest.mark.parametrize("kind", UNPORTABLE)
def test_what_cannot_travel_is_refused_in_one_line_with_the_reason(kind):
    make, reason = UNPORTABLE[kind]
    thing = make()

    texts = [refusal(value) for value in (thing, [1, thing], ("a", [thing]), {"a": 1, "b": thing})]

    assert all("\n" not in text for text in texts)
    assert all(re.search(reason, text) for text in texts), texts


def refusal(value):
    with pytest.raises(REFUSALS) as refused:
        codec.dumps(value)
    return str(refused.value)


@pytest.mark.parametrize("thing", [memoryview(b"x"), threading.Lock(), Outside])
def test_what_cannot_travel_is_refused_as_a_key_too(thing):
    with pytest.raises(REFUSALS):
        codec.dumps({thing: 1})


def test_an_object_whose_repr_fails_is_refused_like_any_other():
    class Local(shapes.Broken):
        pass

    Local.__qualname__ = "Broken"
    Local.__module__ = "tests.unit.shapes"

    with pytest.raises(REFUSALS):
        codec.dumps([Local()])


def test_a_method_that_no_worker_may_run_is_refused_where_it_is_sent():
    with pytest.raises(NotAllowed, match="TASK_MODULES"):
        codec.dumps(collections.Counter().update)


def test_a_value_beyond_the_limit_is_refused_and_one_at_the_limit_is_not(monkeypatch):
    size = len(codec.dumps(b"x" * 1000))
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", str(size))
    codec.current.cache_clear()

    fits = codec.dumps(b"x" * 1000)

    assert len(fits) == size
    with pytest.raises(MessageTooLarge, match=rf"the thing takes .* {size:,}.*MESSAGE_LIMIT_BYTES"):
        codec.dumps(b"x" * 1001, what="the thing")


def test_a_message_beyond_the_limit_is_refused_where_it_arrives(monkeypatch):
    data = codec.dumps([0] * 1000)
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "1000")
    codec.current.cache_clear()

    with pytest.raises(MessageTooLarge):
        codec.loads(data)


def test_shared_references_do_not_make_a_value_grow_without_bound(monkeypatch):
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "10000")
    codec.current.cache_clear()
    value = ()
    for _ in range(50):
        value = (value, value)  # every level twice the one below
    started = time.process_time()

    arrived = round_trip(value)

    assert arrived[0] is arrived[1]
    assert time.process_time() - started < 0.1


def test_a_graph_beyond_the_limit_is_refused(monkeypatch):
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "10000")
    codec.current.cache_clear()
    shared = [1]

    with pytest.raises(MessageTooLarge):
        codec.dumps([shared, shared, "x" * 20_000])


# What arrives may be anything.


def extension(code, data):
    return msgpack.packb(msgpack.ExtType(code, data))


CODES = [*range(1, 25), *range(39, 53), 100]
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2000, 2000)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "tests.unit.shapes:Point",
            "tests.unit.shapes:Colour",
            "tests.unit.shapes:double",
            "tests.unit.shapes:system",
            "tests.unit.shapes:os.system",
            "os:system",
            "builtins",
            "queue",
            "1e2000",
        ]
    )
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.builds(
            lambda code, parts: msgpack.ExtType(code, msgpack.packb(parts)),
            st.sampled_from(CODES),
            inner,
        )
    ),
    max_leaves=12,
)


def size_of(value):
    """How many things a value holds."""
    if isinstance(value, dict):
        return 1 + sum(size_of(key) + size_of(item) for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return 1 + sum(map(size_of, value))
    if isinstance(value, (bytearray, bytes, str)):
        return 1 + len(value)
    if isinstance(value, int):
        return 1 + value.bit_length() // 8
    if isinstance(value, fractions.Fraction):
        return size_of(value.numerator) + size_of(value.denominator)
    return 1


def loads_or_refuses(data):
    try:
        return codec.loads(data)
    except REFUSALS:
        return None


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_or_refused_and_never_another_error(data):
    value = loads_or_refuses(data)

    assert size_of(value) <= 10 * len(data) + 10


@given(junk)
def test_well_formed_messages_with_senseless_parts_are_refused_or_small(parts):
    data = msgpack.packb(parts, unicode_errors="surrogatepass")

    value = loads_or_refuses(data)

    assert size_of(value) <= 10 * len(data) + 10


@given(values, st.data())
def test_damaged_messages_are_refused_or_small(value, data):
    message = bytearray(codec.dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not message:
            return

    arrived = loads_or_refuses(bytes(message))

    assert size_of(arrived) <= 10 * len(message) + 10


RANGE = extension(16, msgpack.packb([0, 300_000, 1]))


@pytest.mark.parametrize(
    "data",
    [
        extension(1, RANGE),
        extension(2, RANGE),
        extension(3, RANGE),
        extension(6, msgpack.packb(50_000_000)),
        extension(6, RANGE),
        extension(14, msgpack.packb(["1e400000", None])),
        extension(19, RANGE),
        extension(20, b"\x92" + RANGE + b"\xc0"),
    ],
    ids=[
        "tuple",
        "set",
        "frozenset",
        "bytearray",
        "bytearray of range",
        "fraction",
        "counter",
        "deque",
    ],
)
def test_a_few_bytes_never_become_a_huge_value(data):
    tracemalloc.start()

    loads_or_refuses(data)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000


def test_bytes_nested_without_end_are_refused_quickly():
    data = b"\x91" * 1_000_000
    started = time.process_time()

    with pytest.raises(NotPortable):
        codec.loads(data)

    assert time.process_time() - started < 1


def test_extensions_nested_without_end_are_refused_quickly():
    data = b"\xc0"
    for _ in range(3000):
        data = extension(1, b"\x91" + data)
    started = time.process_time()

    with pytest.raises(NotPortable):
        codec.loads(data)

    assert time.process_time() - started < 1


@pytest.fixture
def forbidden(tmp_path, monkeypatch):
    """An importable module that is not on the allow-list."""
    name = f"forbidden_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(
        "import enum\n"
        "def function(): return 1\n"
        "class Thing: pass\n"
        "class Member(enum.Enum): A = 1\n"
        "class Error(Exception): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        (40, ["{}:Member", "A"]),
        (41, ["{}:Thing", None, {}]),
        (41, ["{}:Thing", [], None]),
        (42, "{}:function"),
        (42, "tests.unit.shapes:os.system"),
        (42, "tests.unit.shapes:system"),
        (42, "os:system"),
        (43, ["{}", "Error", [], {}]),
        (44, ["{}:Thing", "name", []]),
        (45, [msgpack.ExtType(42, msgpack.packb("os:system")), ["true"], {}]),
        (46, ["text", "format"]),
    ],
)
def test_nothing_outside_the_allow_list_is_imported_or_handed_out(forbidden, code, parts):
    data = extension(code, msgpack.packb(filled(parts, forbidden)))
    before = set(sys.modules)

    value = loads_or_refuses(data)

    assert value is None or type(value).__name__ == "RemoteError"
    assert forbidden not in sys.modules
    assert not {name for name in set(sys.modules) - before if not name.startswith("shared.")}


def filled(parts, name):
    if isinstance(parts, list):
        return [filled(part, name) for part in parts]
    return parts.format(name) if isinstance(parts, str) else parts

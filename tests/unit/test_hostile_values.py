"""Whatever bytes claim to be a value of a special kind, they are refused, or small and harmless."""

import contextlib
import functools
import importlib.util
import sys
import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shared.calls import codec, objects, values
from shared.calls import kinds as codes
from shared.errors import MessageTooLarge, NotAllowed, NotPortable
from tests.unit import kinds, shapes

REFUSALS = (NotPortable, NotAllowed, MessageTooLarge)
LOADED = [root for root in kinds.LIBRARIES if importlib.util.find_spec(root)]
NAMES = [*values._TABLE]
for root in LOADED:
    NAMES += importlib.import_module(values._LIBRARIES[root]).TABLE


def pack(value):
    return msgpack.packb(value, unicode_errors="surrogatepass")


def extension(code, parts):
    return msgpack.ExtType(code, pack(parts))


def value_of(name, head, body=None):
    return extension(codes.VALUE, [[name, head], body])


def loads_or_refuses(data):
    try:
        return codec.loads(data)
    except REFUSALS:
        return None


@contextlib.contextmanager
def bounded(data, times=20):
    """Fails when a message took much more memory than it has bytes, or seconds."""
    for name in ("numpy:ndarray", "pandas:Index", "PIL:Image"):
        loads_or_refuses(pack(value_of(name, None)))  # what is imported is no part of it
    tracemalloc.start()
    started = time.process_time()
    yield
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000 + times * len(data)
    assert seconds < 3


HUGE = 10**9
F8 = "<f8"
BOMBS = {
    "array of 10^9": value_of("numpy:ndarray", [F8, [HUGE], "C", True, b""]),
    "array of 10^9 × 0": value_of("numpy:ndarray", [F8, [HUGE, HUGE, HUGE, 0], "C", True, b""]),
    "array of 10^30 × 0": value_of("numpy:ndarray", [F8, [2**62, 2**62, 0], "C", True, b""]),
    "array of negative length": value_of("numpy:ndarray", [F8, [-1, -8], "C", True, b"x" * 64]),
    "array of 100 dimensions": value_of("numpy:ndarray", [F8, [1] * 100, "C", True, b"x" * 8]),
    "array of nothing, often": value_of("numpy:ndarray", ["|V0", [HUGE], "C", True, b""]),
    "array of empty texts": value_of("numpy:ndarray", ["<U0", [HUGE], "C", True, b""]),
    "array of objects": value_of("numpy:ndarray", ["|O", [1], "C", True, b"x" * 8]),
    "array of an evaluated dtype": value_of("numpy:ndarray", ["f8,f8", [1], "C", True, b"x" * 16]),
    "dtype of a long text": value_of("numpy:dtype", "|V" + "9" * 100),
    "dtype of text": value_of("numpy:dtype", "O"),
    "dtype of a large subarray": value_of("numpy:dtype", ["sub", F8, [HUGE, HUGE]]),
    "item of a large subarray": value_of("numpy:generic", [["sub", F8, [HUGE]], b""]),
    "dtype of a large item": value_of("numpy:dtype", ["fields", [], HUGE, False, False]),
    "dtype of a field outside": value_of(
        "numpy:dtype", ["fields", [["a", F8, HUGE, None]], 8, False, False]
    ),
    "seeds of a large pool": value_of("numpy:SeedSequence", [1, [], HUGE, 0]),
    "image of 10^9 × 10^9": value_of("PIL:Image", ["RGB", HUGE, HUGE, None, {}, None, b""]),
    "image of 10^9 × 0": value_of("PIL:Image", ["RGB", HUGE, 0, None, {}, None, b""]),
    "image of negative size": value_of("PIL:Image", ["L", -1, -1, None, {}, None, b"x"]),
    "image of an unknown mode": value_of("PIL:Image", ["BGR;99", 1, 1, None, {}, None, b"x"]),
    "sparse column of 10^9": value_of(
        "pandas:array",
        [
            "sparse",
            value_of("numpy:ndarray", [F8, [0], "C", True, b""]),
            value_of("numpy:ndarray", ["<i4", [0], "C", True, b""]),
            HUGE,
            0.0,
        ],
    ),
    "frequency of a long name": value_of("pandas:offset", "D" * 10**6),
    "pattern without end": value_of("re:Pattern", ["(" * 10**6, 0]),
    "pattern that prints": value_of("re:Pattern", ["a", 128]),
    "array of characters": value_of("array:array", ["x", 1, "little", b""]),
    "array of another size": value_of("array:array", ["i", HUGE, "little", b""]),
    "array of a range": value_of("array:array", ["i", 4, "little", extension(16, [0, 300_000, 1])]),
    "random of a range": value_of("random:Random", [3, extension(16, [0, 300_000, 1]), None]),
    "defaultdict of a range": value_of("collections:defaultdict", None, extension(16, [0, 9, 1])),
    "bytes of a number": extension(codes.OBJECT, [["tests.unit.shapes:MyBytes", [HUGE]], None]),
    "bytearray of a number": extension(
        codes.CALL, [["tests.unit.shapes:MyBytearray", [HUGE]], None]
    ),
    "tuple of a range": extension(
        codes.OBJECT, [["tests.unit.shapes:Tagged", [extension(16, [0, 300_000, 1])]], None]
    ),
    "fraction of large numbers": extension(
        14, [extension(5, "f" * 10**5), extension(5, "e" * 10**5)]
    ),
    "colliding keys": {number * (2**61 - 1): 0 for number in range(1, 8)}
    | {extension(5, f"{number * (2**61 - 1):x}"): 0 for number in range(10, 60_000)},
    "colliding items of a set": extension(
        2, [extension(5, f"{number * (2**61 - 1):x}") for number in range(10, 60_000)]
    ),
    "nodes in nodes": extension(
        codes.GRAPH,
        [[[1, pack([extension(codes.REFERENCE, n + 1)]), None] for n in range(20_000)], pack(0)],
    ),
    "a node that holds itself": extension(
        codes.GRAPH, [[[1, pack([extension(codes.REFERENCE, 0)]), None]], pack(0)]
    ),
    "a graph in a graph": extension(codes.GRAPH, [[], pack(extension(codes.GRAPH, [[], pack(1)]))]),
    "a reference to nothing": extension(codes.REFERENCE, 0),
    "a reference beyond": extension(codes.GRAPH, [[], pack(extension(codes.REFERENCE, 7))]),
    "a reference before": extension(
        codes.GRAPH, [[[30, pack(None), pack([])]], pack(extension(codes.REFERENCE, -1))]
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_few_bytes_take_little_time_and_memory(name):
    data = pack(BOMBS[name])

    with bounded(data):
        value = loads_or_refuses(data)

    assert value is None or "10^9 × 0" in name


@pytest.mark.parametrize("levels", [1_000, 100_000])
@pytest.mark.parametrize("name", ["numpy:dtype", "pandas:Index", "collections:defaultdict"])
def test_values_nested_without_end_are_refused(name, levels):
    inside = pack(None)
    for _ in range(min(levels, 3_000)):
        inside = pack(msgpack.ExtType(codes.VALUE, b"\x92\x92" + pack(name) + inside + b"\xc0"))
    lists = b"\x91" * levels + b"\xc0"
    beside = pack(msgpack.ExtType(codes.VALUE, b"\x92\x92" + pack(name) + lists + b"\xc0"))

    for data in (inside, beside):
        with bounded(data, times=110):
            assert loads_or_refuses(data) is None


def test_much_that_is_nested_deeply_is_refused_on_both_sides():
    value = b"x" * 4_000_000
    for _ in range(80):
        value = (value,)
    data = pack(b"x" * 4_000_000)
    for _ in range(80):
        data = pack(msgpack.ExtType(1, b"\x91" + data))

    with pytest.raises(NotPortable, match="too deeply"):
        codec.dumps(value)
    with pytest.raises(NotPortable, match="TooDeep"):
        codec.loads(data)


@pytest.mark.parametrize(
    "parts",
    [
        extension(codes.CALL, [["os:getpid", []], None]),
        extension(codes.CALL, [["time:sleep", [100]], None]),
        extension(codes.CALL, [["builtins:pow", [10, 10**9]], None]),
        extension(codes.CALL, [["builtins:list", [extension(16, [0, HUGE, 1])]], None]),
        extension(codes.CALL, [["os:system", ["true"]], None]),
        extension(codes.CALL, [["xml.etree.ElementTree:ElementTree", [None, "/etc/passwd"]], None]),
        extension(codes.CALL, [["subprocess:CompletedProcess", [["true"], 0]], None]),
        extension(codes.CALL, [["tests.unit.shapes:table"], [None, None, [["key", 1]]]]),
        extension(codes.OBJECT, [["subprocess:Popen"], None]),
        extension(codes.OBJECT, [["builtins:bytearray", [HUGE]], None]),
        extension(codes.OBJECT, [["builtins:object"], None]),
        extension(codes.OBJECT, [["numpy:ndarray", [[HUGE]]], None]),
        extension(codes.OBJECT, [["http:HTTPStatus", [200]], [{"_value_": 404}, None, None]]),
        extension(codes.OBJECT, [["tests.unit.shapes:Colour", [1]], [{"x": 1}, None, None]]),
        extension(
            codes.OBJECT,
            [["tests.unit.shapes:Slots"], [[None, {"__class__": 1}], None, None]],
        ),
        extension(codes.REGISTERED, ["os:getpid", []]),
        extension(codes.REGISTERED, ["tests.unit.shapes:double", 1]),
        extension(codes.REGISTERED, ["tests.unit.shapes:foreign_to_data", 1]),
        extension(codes.ENUM, ["subprocess:Popen", True, "x"]),
        value_of("operator:attrgetter", ["__class__"]),
        value_of("operator:attrgetter", ["x.__globals__"]),
        value_of("operator:attrgetter", ["gi_frame.f_globals"]),
        value_of("operator:methodcaller", ["unlink", [], {}]),
        value_of("operator:methodcaller", ["format", ["{0.__class__}"], {}]),
        value_of("operator:methodcaller", ["__reduce_ex__", [2], {}]),
        value_of("operator:methodcaller", ["replace", ["/tmp/x"], {}]),
        value_of("operator:methodcaller", ["replace", ["x"], {"target": "/tmp/x"}]),
        value_of("subprocess:Popen", []),
        value_of("numpy:load", "/etc/passwd"),
        value_of("numpy.random:Evil", []),
        value_of("builtins:eval", "1"),
        value_of("pandas:offset", "__import__('os')"),
        value_of("numpy.random:BitGenerator", ["__class__", {}, None]),
        extension(codes.METHOD, [extension(21, "/tmp/x"), "unlink"]),
    ],
    ids=repr,
)
def test_nothing_beside_the_lists_is_called_or_made(parts):
    data = pack(parts)
    loads_or_refuses(data)  # imports what it may
    heard = []
    listening.append(heard)

    with bounded(data):
        value = loads_or_refuses(data)

    listening.clear()
    assert value is None
    assert heard == []


listening = []


def listen(event, arguments):
    if listening and event in ("os.system", "subprocess.Popen", "open", "import", "exec"):
        listening[0].append((event, arguments))


sys.addaudithook(listen)


def test_no_object_of_the_program_is_changed_by_a_message():
    members = {member: dict(vars(member)) for member in shapes.Colour}
    table = dict(shapes.table)

    for code in (codes.OBJECT, codes.CALL):
        for body in ([{"x": 1}, None, None], [None, [1], None], [None, None, [["key", 1]]]):
            for name in ("Colour", "table", "SINGLE", "Colour.RED"):
                loads_or_refuses(pack(extension(code, [[f"tests.unit.shapes:{name}"], body])))

    assert {member: dict(vars(member)) for member in shapes.Colour} == members
    assert shapes.table == table


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([HUGE, -HUGE, 2**63, 2**64 - 1])
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=16)
    | st.sampled_from([F8, "<M8[ns]", "|V0", "|S1", "C", "F", "RGB", "L", "D", "sub", "fields"])
    | st.sampled_from(["object", "categorical", "datetime", "masked", "range", "multi", "index"])
    | st.sampled_from([*objects.CLASSES, "tests.unit.shapes:Node", "tests.unit.shapes:MyList"])
    | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(extension, st.sampled_from([1, 2, 16, *range(40, 52)]), inner)
        | st.builds(value_of, st.sampled_from(NAMES), inner, st.none() | inner)
    ),
    max_leaves=12,
)


@given(junk)
@hypothesis_settings(max_examples=300)
def test_well_formed_values_of_every_kind_with_senseless_parts_are_refused_or_harmless(parts):
    started = time.process_time()

    loads_or_refuses(pack(parts))

    assert time.process_time() - started < 3


MADE = {name: make for name, make in kinds.EXACT.items() if "10**" not in name}


@given(st.sampled_from(sorted(MADE)), st.data())
@hypothesis_settings(max_examples=300)
def test_damaged_values_of_every_kind_are_refused_or_harmless(name, data):
    message = bytearray(codec.dumps(MADE[name]()))
    damage(message, data)
    started = time.process_time()

    loads_or_refuses(bytes(message))

    assert time.process_time() - started < 3


@functools.cache
def encoded(library):
    return [codec.dumps(make()) for make in kinds.LIBRARIES[library]().values()]


@pytest.mark.parametrize("library", LOADED)
@given(st.data())
@hypothesis_settings(max_examples=100)
def test_damaged_values_of_a_library_are_refused_or_harmless(library, data):
    message = bytearray(data.draw(st.sampled_from(encoded(library))))
    damage(message, data)
    started = time.process_time()

    loads_or_refuses(bytes(message))

    assert time.process_time() - started < 3


def damage(message, data):
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not message:
            message += b"\xc0"

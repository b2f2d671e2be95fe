"""Every kind of value that may travel, by name, and those that may not, with the reason.

`EXACT` holds a function that makes each value; `alike` tells whether two values are the same.
"""

import argparse
import array
import collections
import copyreg
import datetime
import decimal
import enum
import fractions
import functools
import http
import io
import ipaddress
import itertools
import logging
import math
import operator
import optparse
import os
import pathlib
import queue
import random
import re
import signal
import socket
import statistics
import string
import subprocess
import sys
import textwrap
import threading
import time
import types
import urllib.parse
import uuid
import weakref
import xml.etree.ElementTree as ET
import zipfile
import zoneinfo

from tests.unit import shapes


def alike(one, other, seen=None):  # noqa: PLR0912 - one branch for each family
    """Whether two values are the same to the last bit, at every level."""
    seen = set() if seen is None else seen
    if type(one) is not type(other):
        return False
    if one is other or (id(one), id(other)) in seen:
        return True
    seen.add((id(one), id(other)))
    root = type(one).__module__.partition(".")[0]
    if isinstance(one, float) and root == "builtins":
        return one.hex() == other.hex()
    if type(one) in (int, str, bytes, bool, range):
        return one == other
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(alike, one, other, itertools.repeat(seen)))
    if type(one) is dict:
        return alike(list(one.items()), list(other.items()), seen)
    if type(one) in (set, frozenset):
        return one == other
    if root == "numpy":
        return _alike_arrays(one, other)
    if root == "pandas":
        return _alike_tables(one, other)
    if root == "PIL":
        return one == other and one.format == other.format
    if isinstance(one, (types.MethodType, types.BuiltinMethodType)):
        return one.__name__ == other.__name__ and alike(one.__self__, other.__self__, seen)
    if isinstance(one, (type, types.FunctionType, enum.Enum)):
        return one is other
    if isinstance(one, BaseException):
        return alike([one.args, vars(one)], [other.args, vars(other)], seen)
    return alike(_state(one), _state(other), seen)


def _state(value):
    reducer = copyreg.dispatch_table.get(type(value))
    state = reducer(value) if reducer else value.__reduce_ex__(4)
    if isinstance(state, str):
        return state
    return [list(part) if hasattr(part, "__next__") else part for part in state]


def _alike_arrays(one, other):
    import numpy as np

    if isinstance(one, np.ma.MaskedArray):
        return _alike_arrays(one.data, other.data) and (one.mask == other.mask).all()
    if isinstance(one, (np.ndarray, np.generic)):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and (one.dtype.names or one.tobytes() == other.tobytes())
            and (not one.dtype.names or repr(one.tolist()) == repr(other.tolist()))
            and one.flags.writeable == other.flags.writeable
            and one.flags.f_contiguous == other.flags.f_contiguous
        )
    if isinstance(one, np.dtype):
        return one == other
    if isinstance(one, np.random.SeedSequence):
        return one.state == other.state
    state = getattr(one, "bit_generator", one)
    again = getattr(other, "bit_generator", other)
    get = (
        (lambda g: g.get_state(legacy=False))
        if isinstance(one, np.random.RandomState)
        else (lambda g: g.state)
    )
    return repr(get(state)) == repr(get(again))


def _alike_tables(one, other):
    import pandas as pd

    if isinstance(one, (pd.DataFrame, pd.Series)):
        check = (
            pd.testing.assert_frame_equal
            if isinstance(one, pd.DataFrame)
            else pd.testing.assert_series_equal
        )
        check(one, other, check_exact=True, check_freq=True)
        return one.attrs == other.attrs and one.flags == other.flags
    if isinstance(one, pd.Index):
        pd.testing.assert_index_equal(one, other, exact=True)
        return getattr(one, "freq", None) == getattr(other, "freq", None)
    if isinstance(one, pd.api.extensions.ExtensionArray):
        pd.testing.assert_extension_array_equal(one, other, check_exact=True)
        return True
    units = getattr(one, "unit", None), getattr(other, "unit", None)
    return one == other and units[0] == units[1] and repr(one) == repr(other)


def tree():
    """A node whose children know it."""
    root = shapes.Node("root")
    for name in ("left", "right"):
        child = shapes.Node(name)
        child.parent = root
        root.children.append(child)
    return root


def twice(value):
    return [value, {"again": value}, (value,)]


def ring():
    value = [1]
    value.append((value,))
    return value


def record():
    made = logging.LogRecord("app", logging.INFO, "file.py", 3, "%s went %d", ("it", 3), None)
    made.extra = {"request": 7}
    return made


def stream(kind, value, position):
    made = kind(value)
    made.seek(position)
    return made


def generator_of(seed):
    made = random.Random(seed)
    made.gauss(0, 1)
    return made


def filled(kind, *items, **attributes):
    made = kind(*items)
    vars(made).update(attributes)
    return made


def default(factory, **items):
    return collections.defaultdict(factory, items)


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
EXACT = {
    # Plain.
    "None": lambda: None,
    "bool": lambda: [True, False],
    "int": lambda: [0, -1, 2**63, -(2**70), 10**400],
    "float": lambda: [0.1, -0.0, math.inf, -math.inf, 5e-324],
    "nan": lambda: float("nan"),
    "complex": lambda: complex(-0.0, 2),
    "str": lambda: "\ud800 ü \x00",
    "bytes": lambda: b"\x00\xff",
    "bytearray": lambda: bytearray(b"ab"),
    "list": lambda: [1, [2, []]],
    "tuple": lambda: ((), (1, (2,))),
    "dict": lambda: {1: "a", (2,): None, "x": {}},
    "set": lambda: {1, "a"},
    "frozenset": lambda: frozenset({1, (2,)}),
    "range": lambda: range(0, 10**12, 3),
    "slice": lambda: slice(1, None, -1),
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    # Numbers, dates, names.
    "Decimal": lambda: [decimal.Decimal("1.10"), decimal.Decimal("NaN"), decimal.Decimal("-0")],
    "DecimalTuple": lambda: decimal.Decimal("1.10").as_tuple(),
    "Fraction": lambda: fractions.Fraction(-3, 7),
    "NormalDist": lambda: statistics.NormalDist(1, 2),
    "LinearRegression": lambda: statistics.linear_regression([1, 2], [3, 5]),
    "date": lambda: datetime.date(2024, 2, 29),
    "time": lambda: datetime.time(1, 2, 3, 4, tzinfo=datetime.UTC),
    "datetime": lambda: datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    "timedelta": lambda: datetime.timedelta(-1, 2, 3),
    "timezone": lambda: datetime.timezone(datetime.timedelta(hours=2), "east"),
    "ZoneInfo": lambda: BERLIN,
    "struct_time": lambda: time.localtime(0),
    "UUID": lambda: uuid.UUID(int=5),
    "IPv4Address": lambda: ipaddress.ip_address("10.0.0.1"),
    "IPv6Address": lambda: ipaddress.ip_address("fe80::1%eth0"),
    "IPv4Network": lambda: ipaddress.ip_network("10.0.0.0/8"),
    "IPv6Network": lambda: ipaddress.ip_network("2001:db8::/32"),
    "IPv4Interface": lambda: ipaddress.ip_interface("10.1.2.3/8"),
    "IPv6Interface": lambda: ipaddress.ip_interface("2001:db8::1/64"),
    # Paths and addresses.
    "PosixPath": lambda: pathlib.Path("/tmp/x"),
    "PurePosixPath": lambda: pathlib.PurePosixPath("a/b"),
    "PureWindowsPath": lambda: pathlib.PureWindowsPath("C:\\a\\b"),
    "PurePath": lambda: pathlib.PurePath("a"),
    "ParseResult": lambda: urllib.parse.urlparse("http://u@h:1/p;x?q#f"),
    "ParseResultBytes": lambda: urllib.parse.urlparse(b"http://h/"),
    "SplitResult": lambda: urllib.parse.urlsplit("http://h/p"),
    "DefragResult": lambda: urllib.parse.urldefrag("http://h/p#f"),
    "stat_result": lambda: os.stat("/"),
    "statvfs_result": lambda: os.statvfs("/"),
    "terminal_size": lambda: os.terminal_size((80, 24)),
    "times_result": os.times,
    "uname_result": os.uname,
    # Containers.
    "OrderedDict": lambda: collections.OrderedDict([("b", 1), ("a", 2)]),
    "Counter": lambda: collections.Counter("abca"),
    "deque": lambda: collections.deque([1, 2], maxlen=3),
    "defaultdict": lambda: default(list, a=[1]),
    "defaultdict of int": lambda: default(int, a=1),
    "defaultdict without a factory": lambda: default(None, a=1),
    "defaultdict of a function": lambda: default(shapes.hello, a=1),
    "ChainMap": lambda: collections.ChainMap({"a": 1}, {"b": 2}),
    "UserDict": lambda: collections.UserDict(a=1),
    "UserList": lambda: collections.UserList([1]),
    "UserString": lambda: collections.UserString("s"),
    "SimpleNamespace": lambda: types.SimpleNamespace(a=1, b=[2]),
    "Namespace": lambda: argparse.Namespace(verbose=True, names=["x"]),
    "Values": lambda: optparse.Values({"a": 1}),
    "array of int": lambda: array.array("i", [1, -2]),
    "array of double": lambda: array.array("d", [0.5]),
    "array of bytes": lambda: array.array("B", b"abc"),
    "array of characters": lambda: array.array("u", "aü"),
    "empty array": lambda: array.array("q"),
    # Text and streams.
    "pattern": lambda: re.compile(r"(\w+)\s*=", re.IGNORECASE | re.MULTILINE),
    "pattern of bytes": lambda: re.compile(rb"\d+", re.DOTALL),
    "Template": lambda: string.Template("$a"),
    "TextWrapper": lambda: textwrap.TextWrapper(width=30),
    "BytesIO": lambda: stream(io.BytesIO, b"abc", 1),
    "StringIO": lambda: stream(io.StringIO, "a\nb", 2),
    "Element": lambda: ET.fromstring("<a x='1'>t<b/>u</a>"),
    "ElementTree": lambda: ET.ElementTree(ET.Element("a")),
    "ZipInfo": lambda: zipfile.ZipInfo("a.txt", (2020, 1, 1, 0, 0, 0)),
    # What programs pass around.
    "Random": lambda: generator_of(3),
    "LogRecord": record,
    "Logger": lambda: logging.getLogger("tests.kinds"),
    "root Logger": logging.getLogger,
    "LoggerAdapter": lambda: logging.LoggerAdapter(logging.getLogger("tests.kinds"), {"a": 1}),
    "CompletedProcess": lambda: subprocess.CompletedProcess(["ls"], 0, "out", None),
    "itemgetter": lambda: operator.itemgetter(1, "a"),
    "attrgetter": lambda: operator.attrgetter("x", "y.real"),
    "methodcaller": lambda: operator.methodcaller("split", ",", maxsplit=1),
    "methodcaller without keywords": lambda: operator.methodcaller("replace", "a", "b"),
    "partial": lambda: functools.partial(shapes.Point, 1, y=[2]),
    "partial of a built-in": lambda: functools.partial(pow, 2),
    "function": lambda: shapes.double,
    "built-in function": lambda: [len, math.sqrt, operator.add, str.upper],
    "bound method": lambda: shapes.Point(3, 4).length,
    "bound method of a list": lambda: ["a"].count,
    "bound method of a str": lambda: ", ".join,
    "class method": lambda: shapes.Point.origin,
    "class": lambda: [shapes.Point, shapes.Colour, shapes.Point.Inner],
    "built-in type": lambda: [int, str, dict, object, type(None)],
    "exception class": lambda: [ValueError, KeyError, shapes.Refused],
    "generic alias": lambda: list[dict[str, int]],
    "union of types": lambda: int | None,
    # Enums.
    "Enum": lambda: list(shapes.Colour),
    "IntEnum": lambda: shapes.Level.HIGH,
    "StrEnum": lambda: shapes.Word.YES,
    "Flag": lambda: shapes.Rights.READ | shapes.Rights.WRITE,
    "HTTPStatus": lambda: http.HTTPStatus.NOT_FOUND,
    "HTTPMethod": lambda: http.HTTPMethod.GET,
    "Signals": lambda: signal.SIGTERM,
    "Handlers": lambda: signal.SIG_IGN,
    "AddressFamily": lambda: socket.AF_INET,
    "SocketKind": lambda: socket.SOCK_STREAM,
    "RegexFlag": lambda: re.IGNORECASE | re.MULTILINE,
    "SafeUUID": lambda: uuid.SafeUUID.safe,
    # Classes of one's own.
    "object": lambda: shapes.Node("n"),
    "dataclass": lambda: shapes.Point(1.5, -0.0, ["a"]),
    "frozen dataclass": lambda: shapes.Frozen("f"),
    "dataclass with slots": lambda: shapes.FrozenSlots("f", 3),
    "slots": lambda: shapes.Slots(left=(1, {2})),
    "slots and dict": lambda: shapes.SlotsAndDict(left=1, extra=[2]),
    "state of one's own": lambda: shapes.Kept("s"),
    "nested class": shapes.Point.Inner,
    "NamedTuple": lambda: shapes.Pair(1, {2}),
    "NamedTuple in itself": lambda: shapes.Pair(shapes.Pair(1), None),
    "subclass of list": lambda: shapes.MyList([1, [2]]),
    "subclass of list with attributes": lambda: filled(shapes.MyList, [1], name="n"),
    "subclass of dict": lambda: shapes.MyDict(a=1),
    "subclass of dict with attributes": lambda: filled(shapes.MyDict, {"a": 1}, name="n"),
    "subclass of int": lambda: filled(shapes.MyInt, 5, unit="m"),
    "subclass of float": lambda: shapes.MyFloat(0.5),
    "subclass of str": lambda: shapes.MyStr("s"),
    "subclass of bytes": lambda: shapes.MyBytes(b"b"),
    "subclass of bytearray": lambda: shapes.MyBytearray(b"b"),
    "subclass of tuple": lambda: filled(shapes.Tagged, [1, 2], tag="of the object"),
    "subclass of set": lambda: shapes.MySet({1, 2}),
    "subclass of frozenset": lambda: shapes.MyFrozenset({1}),
    "subclass of complex": lambda: shapes.MyComplex(1, 2),
    "subclass of OrderedDict": lambda: shapes.MyOrdered(a=1, b=2),
    "subclass of defaultdict": lambda: shapes.MyDefault(list, {"a": [1]}),
    "subclass of deque": lambda: shapes.MyDeque([1, 2], 3),
    "subclass of Counter": lambda: shapes.MyCounter("aab"),
    "subclass of datetime": lambda: shapes.MyDatetime(2024, 1, 2),
    "subclass of Decimal": lambda: shapes.MyDecimal("1.5"),
    "subclass of Random": lambda: filled(shapes.MyRandom, 3),
    "object that can be called": lambda: shapes.Adder(3),
    "__reduce__": lambda: shapes.Reduced(3),
    "__reduce__ with a function": lambda: shapes.ReducedByFunction(3),
    "__reduce_ex__ with state": lambda: shapes.ReducedWithState(3),
    "__reduce__ to a name": lambda: shapes.SINGLE,
    "__getnewargs__": lambda: shapes.Unit(3, "m"),
    "__getnewargs_ex__": lambda: shapes.Keyword(size=3),
    "copyreg": lambda: shapes.Registered(3),
    "registered": lambda: shapes.Foreign(3),
    # Exceptions.
    "ValueError": lambda: ValueError("x", 1),
    "OSError": lambda: FileNotFoundError(2, "No such file", "name"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    "ExceptionGroup": lambda: ExceptionGroup("g", [ValueError(1)]),
    "exception of one's own": lambda: shapes.Refused(7, hint="h"),
    "exception with attributes": lambda: filled(ValueError, "x", code=3),
    # One object under several names.
    "list twice": lambda: twice([1]),
    "dict twice": lambda: twice({"a": 1}),
    "set twice": lambda: twice({1}),
    "tuple twice": lambda: twice(([1],)),
    "bytearray twice": lambda: twice(bytearray(b"x")),
    "deque twice": lambda: twice(collections.deque([1], 2)),
    "OrderedDict twice": lambda: twice(collections.OrderedDict(a=1)),
    "defaultdict twice": lambda: twice(default(list, a=[])),
    "object twice": lambda: twice(shapes.Point(1, 2)),
    "exception twice": lambda: twice(ValueError(1)),
    "subclass of list twice": lambda: twice(shapes.MyList([1])),
    "partial twice": lambda: twice(functools.partial(pow, 2)),
    "list in itself": ring,
    "dict in itself": lambda: shapes.holding_itself({}),
    "object in itself": lambda: shapes.holding_itself(shapes.Node("n")),
    "children that know their parent": tree,
    "exception that holds itself": lambda: shapes.holding_itself(ValueError("x")),
}


def numpy_kinds():
    import numpy as np

    fields = np.zeros(
        3, dtype=[("a", "<i4"), ("b", "U5"), ("c", [("x", ">f8", (2,))]), (("title", "d"), "?")]
    )
    fields["a"] = [1, 2, 3]
    fixed = np.arange(3)
    fixed.flags.writeable = False
    aligned = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    return {
        **{
            f"array of {name}": functools.partial(np.ones, (2, 3), dtype=name)
            for name in [
                "bool",
                "int8",
                "int16",
                "int32",
                "int64",
                "uint8",
                "uint16",
                "uint32",
                "uint64",
                "float16",
                "float32",
                "float64",
                "longdouble",
                "complex64",
                "complex128",
                "clongdouble",
                ">i2",
                ">f8",
                ">c16",
                "S3",
                "U4",
                ">U2",
            ]
        },
        "array of void": lambda: np.zeros(2, "V3"),
        "array of dates": lambda: np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
        "array of nanoseconds": lambda: np.array(["2020"], dtype="M8[ns]"),
        "array of 25 seconds": lambda: np.array([3], dtype="m8[25s]"),
        "structured array": lambda: fields,
        "item of a structured array": lambda: fields[0],
        "aligned dtype": lambda: np.zeros(2, aligned),
        "Fortran order": lambda: np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "no dimension": lambda: np.array(5),
        "empty": lambda: np.zeros((0, 3), dtype="f4"),
        "five dimensions": lambda: np.arange(32).reshape(2, 2, 2, 2, 2),
        "read-only": lambda: fixed,
        "every second item": lambda: np.ascontiguousarray(np.arange(10)[::2]),
        "masked array": lambda: np.ma.array([1.0, 2.0], mask=[False, True], fill_value=-1),
        "matrix": lambda: np.asmatrix([[1, 2], [3, 4]]),
        "recarray": lambda: np.rec.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
        "scalars": lambda: [np.float64(0.1), np.float32(0.1), np.int64(3), np.uint8(255)],
        "other scalars": lambda: [np.bool_(True), np.str_("s"), np.bytes_(b""), np.complex64(1j)],
        "datetime64": lambda: [np.datetime64("2020-01-01T00:00", "s"), np.datetime64("NaT", "ns")],
        "timedelta64": lambda: np.timedelta64(3, "h"),
        "dtypes": lambda: [np.dtype("f4"), fields.dtype, aligned],
        "scalar types": lambda: [np.float32, np.int64, np.ndarray],
        "ufuncs": lambda: [np.sin, np.add, np.mean],
        "Generator": lambda: np.random.default_rng(3),
        "RandomState": lambda: np.random.RandomState(3),
        "SeedSequence": lambda: np.random.SeedSequence(3).spawn(2)[1],
        **{
            name: functools.partial(getattr(np.random, name), 3)
            for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
        },
        "array twice": lambda: twice(np.arange(3)),
        "array in an object": lambda: shapes.Point(np.arange(3), 1),
    }


def pandas_kinds():
    import numpy as np
    import pandas as pd

    def frame():
        return pd.DataFrame(
            {
                "int": [1, 2],
                "float": [1.5, None],
                "bool": [True, False],
                "str": ["x", None],
                "object": pd.Series([{"k": 1}, (1,)], dtype=object),
                "date": pd.to_datetime(["2020-01-01", None]),
                "zone": pd.date_range("2020", periods=2, tz="Europe/Berlin"),
                "delta": pd.to_timedelta([1, 2], unit="s"),
                "category": pd.Categorical(["u", "v"], categories=["v", "u"], ordered=True),
                "Int64": pd.array([1, None], dtype="Int64"),
                "Float32": pd.array([1, None], dtype="Float32"),
                "boolean": pd.array([True, None], dtype="boolean"),
                "string": pd.array(["a", None], dtype="string"),
                "period": pd.period_range("2020", periods=2, freq="M"),
                "interval": pd.interval_range(0, 2),
                "sparse": pd.arrays.SparseArray([0, 1]),
            },
            index=pd.Index([10, 20], name="number"),
        )

    def with_attributes():
        made = pd.Series([1], name=("a", 1))
        made.attrs["unit"] = "m"
        return made.set_flags(allows_duplicate_labels=False)

    columns = list(frame().columns)
    return {
        "DataFrame": frame,
        "DataFrame of numbers": lambda: pd.DataFrame(np.arange(6.0).reshape(2, 3)),
        "empty DataFrame": pd.DataFrame,
        "DataFrame without columns": lambda: pd.DataFrame(index=[1, 2]),
        "DataFrame with the same name twice": lambda: pd.DataFrame([[1, 0.5]], columns=["a", "a"]),
        "DataFrame by date": lambda: pd.DataFrame(
            {"a": [1, 2]}, index=pd.date_range("2020", periods=2)
        ),
        "DataFrame by two names": lambda: frame().set_index(["int", "str"]),
        "transposed DataFrame": lambda: frame().T,
        **{f"Series of {name}": functools.partial(lambda n: frame()[n], name) for name in columns},
        "Series with attributes": with_attributes,
        "Series with the same label twice": lambda: pd.Series([1, 2], index=[0, 0]),
        "Index": lambda: pd.Index([1.5, 2]),
        "Index of str": lambda: pd.Index(["a", "b"], name="n"),
        "Index of objects": lambda: pd.Index([1, "a", (2,)], dtype=object),
        "Index of tuples": lambda: pd.Index([(1, 2), (3, 4)], tupleize_cols=False),
        "RangeIndex": lambda: pd.RangeIndex(1, 10, 3, name="r"),
        "MultiIndex": lambda: pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["x", None]),
        "DatetimeIndex": lambda: pd.date_range("2020", periods=3, freq="h", tz="UTC"),
        "DatetimeIndex without frequency": lambda: pd.DatetimeIndex(["2020", "2021-05-05"]),
        "TimedeltaIndex": lambda: pd.timedelta_range("1D", periods=3),
        "PeriodIndex": lambda: pd.period_range("2020", periods=3, freq="Q"),
        "IntervalIndex": lambda: pd.interval_range(0, 3, closed="left"),
        "CategoricalIndex": lambda: pd.CategoricalIndex(["a", "b"]),
        "Categorical": lambda: pd.Categorical(["a", None]),
        "extension arrays": lambda: [pd.array([1, None], dtype="UInt8"), pd.array([True])],
        "Timestamp": lambda: [pd.Timestamp("2020"), pd.Timestamp("2020").as_unit("s")],
        "Timestamp in a zone": lambda: pd.Timestamp("2024-10-27 01:30Z").tz_convert(
            "Europe/Berlin"
        ),
        "Timedelta": lambda: pd.Timedelta("1s"),
        "NaT": lambda: pd.NaT,
        "NA": lambda: pd.NA,
        "Period": lambda: pd.Period("2020-01"),
        "Interval": lambda: pd.Interval(1, 2),
        "offsets": lambda: [pd.offsets.Day(2), pd.offsets.MonthEnd()],
        "CategoricalDtype": lambda: pd.CategoricalDtype(["a"], ordered=True),
        "other dtypes": lambda: [
            pd.Int64Dtype(),
            pd.StringDtype(),
            pd.DatetimeTZDtype("ns", "UTC"),
            pd.PeriodDtype("D"),
            pd.IntervalDtype("int64"),
            pd.BooleanDtype(),
        ],
        "Series twice": lambda: twice(pd.Series([1])),
    }


def pillow_kinds():
    from PIL import Image

    def opened():
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (1, 2, 3)).save(file, "PNG")
        made = Image.open(file).copy()
        made.format = "PNG"
        made.info["dpi"] = (72, 72)
        return made

    modes = [
        "1",
        "L",
        "LA",
        "La",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBa",
        "RGBX",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "I",
        "F",
        "I;16",
        "I;16B",
    ]
    return {
        **{f"image {mode}": functools.partial(Image.new, mode, (5, 3)) for mode in modes},
        "image with a palette": lambda: Image.linear_gradient("L").quantize(5),
        "image of no size": lambda: Image.new("RGB", (0, 3)),
        "image with what is known about it": opened,
        "image twice": lambda: twice(Image.new("L", (2, 2))),
    }


LIBRARIES = {"numpy": numpy_kinds, "pandas": pandas_kinds, "PIL": pillow_kinds}


class Elsewhere:
    """Its module is not on the allow-list."""


def generator():
    yield 1


# A local pool refuses these, too.
NEVER = {
    "lambda": (lambda: lambda: 1, "a lambda has no name"),
    "local function": (shapes.make_closure, "inside a function"),
    "generator": (generator, "code that has begun to run"),
    "open file": (lambda: open(os.devnull), "pass its path"),
    "socket": (socket.socket, "open it there"),
    "lock": (threading.Lock, r"shared\.multiprocessing has one"),
    "condition": (threading.Condition, r"shared\.multiprocessing has one"),
    "queue": (queue.Queue, r"shared\.multiprocessing has one"),
    "thread": (threading.Thread, "works in this process only"),
    "module": (lambda: types, "import it inside the function"),
    "memoryview": (lambda: memoryview(b"x"), "pass bytes"),
    "frame": (sys._getframe, "bound to this process"),
    "code": (lambda: generator.__code__, "bound to this process"),
    "view of a dict": (lambda: {}.keys(), "bound to this process"),
    "weak reference": (lambda: weakref.ref(shapes.Node), "."),
    "object that refuses": (shapes.Refusing, r"its class refuses \(NotImplementedError: not me\)"),
    "mapping proxy": (lambda: vars(shapes.Node), "bound to this process"),
}
# A local pool carries these.
REASONS = {
    "iterator of a list": (lambda: iter([1]), "an iterator is bound to this process; pass a list"),
    "enumerate": (lambda: enumerate([1]), "an iterator"),
    "itertools.count": (itertools.count, "an iterator"),
    "bare object": (object, "bound to this process"),
    "methodcaller of anything": (lambda: operator.methodcaller("unlink"), "harmless methods"),
    "methodcaller that could move a file": (
        lambda: operator.methodcaller("replace", "/x"),
        "harmless methods",
    ),
    "attrgetter of code": (lambda: operator.attrgetter("__globals__"), "leads to code"),
    "reduce to another module": (shapes.Reducing, "which no module of TASK_MODULES defines"),
    "class of another module": (lambda: string.Formatter, "call it inside a function"),
    "object of another module": (Elsewhere, "TASK_MODULES"),
}

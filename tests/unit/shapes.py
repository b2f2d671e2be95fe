"""Classes and functions that may travel in the unit tests: their module is on the allow-list."""

import collections
import copyreg
import datetime
import decimal
import enum
import os
import os.path
import random
from dataclasses import dataclass, field
from os import system
from shutil import rmtree
from typing import NamedTuple

from shared.calls import registration

__all__ = ["os", "rmtree", "system"]  # imported to be refused: they were defined elsewhere

constructed = []


def double(number):
    return 2 * number


def halve_even(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def make_closure():
    factor = 3

    def inner(number):
        return factor * number

    return inner


square = lambda number: number**2  # noqa: E731 - a lambda is what is tested
called_elsewhere = make_closure()
table = {"key": double}


def hidden():
    return "its name is gone from the module"


kept = hidden
del hidden


@dataclass
class Point:
    x: float
    y: float
    tags: list = field(default_factory=list)

    def __post_init__(self):
        constructed.append(self)

    def length(self):
        return (self.x**2 + self.y**2) ** 0.5

    @classmethod
    def origin(cls):
        return cls(0, 0)

    @staticmethod
    def unit():
        return 1

    class Inner:
        def __init__(self):
            constructed.append(self)

        def who(self):
            return "inner"


@dataclass(frozen=True)
class Frozen:
    name: str


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    name: str
    size: int


class Slots:
    __slots__ = ("left", "right")

    def __init__(self, left):
        constructed.append(self)
        self.left = left  # `right` stays unset


class SlotsAndDict(Slots):
    def __init__(self, left, extra):
        super().__init__(left)
        self.extra = extra


class Stateful:
    def __init__(self, secret):
        constructed.append(self)
        self.secret = secret
        self.cache = {"not": "sent"}

    def __getstate__(self):
        return ("state", self.secret)

    def __setstate__(self, state):
        word, self.secret = state
        self.cache = word


class Pair(NamedTuple):
    left: object
    right: object = None


Misnamed = collections.namedtuple("Other", "x y")  # noqa: PYI024 - its own name leads nowhere


class Tagged(tuple):  # noqa: SLOT001 - it has a dict on purpose
    tag = "of the class"


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"
    CRIMSON = 1  # noqa: PIE796 - an alias on purpose


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyInt(int):
    pass


class MyStr(str):
    __slots__ = ()


class ManyLines(dict):
    def __repr__(self):
        return "first line\nsecond line"


class Reducing:
    def __reduce__(self):
        return os.getpid, ()


class Broken:
    def __repr__(self):
        raise RuntimeError("no repr")


class Refused(Exception):
    def __init__(self, code, *, hint=""):
        super().__init__(code)
        self.code = code
        self.hint = hint


class TwoArguments(Exception):
    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")
        self.left = left
        self.right = right


class Formatting(Exception):
    """Its ``__init__`` cannot take what it passes on to Exception."""

    def __init__(self, code):
        super().__init__(f"code {code:d}")
        self.code = code


class Wording(Exception):
    """Its ``__init__``, given its own text once more, would say it twice."""

    def __init__(self, count):
        super().__init__(f"count is {count}")


class Holding(Exception):
    def __init__(self, thing):
        super().__init__(thing)
        self.thing = thing


class Node:
    def __init__(self, name):
        self.name = name
        self.parent = None
        self.children = []


def hello():
    return "hello"


def linked(length):
    """The first of so many nodes that know their neighbours."""
    first = before = Node(0)
    for number in range(1, length):
        after = Node(number)
        after.parent = before
        before.children.append(after)
        before = after
    return first


def holding_itself(value):
    if isinstance(value, dict):
        value["self"] = (value,)
    else:
        value.itself = [value]
    return value


class Kept:
    def __init__(self, secret):
        self.secret = secret

    def __getstate__(self):
        return {"secret": self.secret}

    def __setstate__(self, state):
        self.secret = state["secret"]


class MyFloat(float):
    pass


class MyBytes(bytes):
    pass


class MyBytearray(bytearray):
    pass


class MySet(set):
    pass


class MyFrozenset(frozenset):
    pass


class MyComplex(complex):
    pass


class MyOrdered(collections.OrderedDict):
    pass


class MyDefault(collections.defaultdict):
    pass


class MyDeque(collections.deque):
    pass


class MyCounter(collections.Counter):
    pass


class MyDatetime(datetime.datetime):
    pass


class MyDecimal(decimal.Decimal):
    pass


class MyRandom(random.Random):
    pass


class Adder:
    def __init__(self, number):
        self.number = number

    def __call__(self, other):
        return self.number + other


class Reduced:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return type(self), (self.number,)


def make_reduced(number):
    return ReducedByFunction(number)


class ReducedByFunction(Reduced):
    def __reduce__(self):
        return make_reduced, (self.number,)


class ReducedWithState(Reduced):
    def __reduce_ex__(self, protocol):
        return type(self), (0,), {"number": self.number}


class Refusing:
    def __reduce__(self):
        raise NotImplementedError("not me")


class Single:
    def __reduce__(self):
        return "SINGLE"


SINGLE = Single()


class Unit(float):
    def __new__(cls, number, unit):
        made = super().__new__(cls, number)
        made.unit = unit
        return made

    def __getnewargs__(self):
        return float(self), self.unit


class Keyword:
    def __new__(cls, *, size):
        made = super().__new__(cls)
        made.size = size
        return made

    def __getnewargs_ex__(self):
        return (), {"size": self.size}


class Registered:
    def __init__(self, number):
        self.number = number


def make_registered(number):
    return Registered(number)


def reduce_registered(value):
    return make_registered, (value.number,)


copyreg.pickle(Registered, reduce_registered)


class Foreign:
    """As of a library that knows nothing of us."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return os.getpid, ()


def foreign_to_data(value):
    return [value.number]


def foreign_from_data(data):
    return Foreign(data[0])


registration.register(Foreign, foreign_to_data, foreign_from_data)

"""Classes and functions that may travel in the unit tests: their module is on the allow-list."""

import collections
import enum
import os
import os.path
from dataclasses import dataclass, field
from os import system
from shutil import rmtree
from typing import NamedTuple

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

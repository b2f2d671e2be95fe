"""What a caller knows of a task: name, arguments, usual queue; as JSON, and back.

A worker publishes its tasks so, and the producer checks arguments against what it reads. No
code travels: a type that is neither a plain one nor made of plain ones becomes any value.
"""

import functools
import inspect
import math
import operator
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union
from uuid import UUID

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic.fields import FieldInfo

from shared.errors import short

# The task that calls a plain function: its reference, then its arguments.
FUNCTION = "function"

_PLAIN: dict[str, Any] = {
    "Any": Any,
    "None": None,
    **{
        kind.__name__: kind
        for kind in (
            *(bool, int, float, str, bytes, list, dict, tuple),
            *(date, datetime, time, timedelta, Decimal, UUID),
        )
    },
}
_NAMES = {kind: name for name, kind in _PLAIN.items()} | {type(None): "None"}
# What JSON has no type for travels as the nearest that it has.
_NEAREST: dict[Any, str] = {set: "list", frozenset: "list", typing.Sequence: "list"}
_LIMITS = {
    "ge": Ge,
    "gt": Gt,
    "le": Le,
    "lt": Lt,
    "min_length": MinLen,
    "max_length": MaxLen,
    "multiple_of": MultipleOf,
}
_KIND: Any = type(inspect.Parameter.POSITIONAL_ONLY)
_KINDS = {kind.name: kind for kind in _KIND}
_DEEPEST = 10
_LONGEST = 200
# The signature of a function of which nothing is known.
ANY_ARGUMENTS = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)


class Shown:
    """Stands for a default value or a type that is only shown."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Contract:
    """What a caller knows of a task, or of a plain function."""

    name: str
    queue: str | None  # where it usually runs; None where nothing says so
    signature: inspect.Signature
    help: str

    def __str__(self) -> str:
        """The name and the parameters, as people read them."""
        kinds = inspect.Parameter
        texts: list[str] = []
        before = None
        for parameter in self.signature.parameters.values():
            if before is kinds.POSITIONAL_ONLY and parameter.kind is not before:
                texts.append("/")
            if parameter.kind is kinds.KEYWORD_ONLY and before not in {
                kinds.KEYWORD_ONLY,
                kinds.VAR_POSITIONAL,
            }:
                texts.append("*")
            texts.append(_parameter_text(parameter))
            before = parameter.kind
        if before is kinds.POSITIONAL_ONLY:
            texts.append("/")
        return f"{self.name}({', '.join(texts)})"


def of(function: Callable[..., Any], name: str, queue: str | None) -> Contract:
    """The contract of a function."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:
        # A type that is imported for the type checker alone, a function in C, any __signature__.
        try:
            signature = inspect.signature(function)
        except Exception:
            signature = ANY_ARGUMENTS
    lines = (inspect.getdoc(function) or "").strip().splitlines()
    return Contract(name, queue, signature, lines[0] if lines else "")


def to_json(contract: Contract) -> dict[str, Any]:
    """The contract as a worker publishes it."""
    return {
        "name": contract.name,
        "queue": contract.queue,
        "help": contract.help[:_LONGEST],
        "parameters": [
            {
                "name": parameter.name,
                "kind": parameter.kind.name,
                **({} if _is_empty(parameter.annotation) else {"type": _encode(parameter)}),
                **({} if _is_empty(parameter.default) else {"default": short(parameter.default)}),
            }
            for parameter in contract.signature.parameters.values()
        ],
    }


def from_json(entry: Any) -> Contract:
    """A contract that a worker published; raises one of `ODD` for what is none."""
    name, queue, line = entry["name"], entry.get("queue"), entry.get("help", "")
    if not isinstance(line, str):
        raise TypeError("a line of help is no text")
    for word in (name,) if queue is None else (name, queue):
        if not (isinstance(word, str) and word and word.isprintable()):
            raise TypeError("a name is no text that can be shown")
    parameters = [
        inspect.Parameter(
            str(given["name"]),
            _KINDS[given["kind"]],
            annotation=_decode(given["type"]) if "type" in given else inspect.Parameter.empty,
            default=Shown(str(given["default"])[:_LONGEST])
            if "default" in given
            else inspect.Parameter.empty,
        )
        for given in entry["parameters"]
    ]
    return Contract(name, queue, inspect.Signature(parameters), line[:_LONGEST])


# What `from_json` raises.
ODD = (TypeError, ValueError, LookupError, AttributeError, RecursionError)


def type_text(annotation: Any) -> str:
    """A type as people read it, without its limits."""
    if typing.get_origin(annotation) is Annotated:
        base, *notes = typing.get_args(annotation)
        shown = [note.text for note in notes if isinstance(note, Shown)]
        return shown[0] if shown else type_text(base)
    if isinstance(annotation, str):
        return annotation
    return str(inspect.formatannotation(annotation)).replace("typing.", "")


def _parameter_text(parameter: inspect.Parameter) -> str:
    stars: dict[Any, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    text = stars.get(parameter.kind, "") + parameter.name
    if not _is_empty(parameter.annotation):
        text += f": {type_text(parameter.annotation)}"
    if not _is_empty(parameter.default):
        text += f" = {short(parameter.default)}"
    return text


def _is_empty(value: Any) -> bool:
    return value is inspect.Parameter.empty


def _encode(parameter: inspect.Parameter) -> Any:
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return annotation if annotation in _PLAIN else ["other", annotation[:_LONGEST]]
    return _encode_type(annotation)


def _encode_type(kind: Any) -> Any:
    """A type as JSON: a plain one's name, or a list of a word and its parts."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        limits = _limits(parts[1:])
        base = _encode_type(parts[0])
        return ["limited", base, limits] if limits else base
    if origin in (Union, types.UnionType):
        return ["union", *map(_encode_type, parts)]
    if origin is Literal and all(isinstance(part, str | int | bool | None) for part in parts):
        return ["literal", *parts]
    if isinstance(kind, type) and issubclass(kind, Enum):
        values = [member.value for member in kind]
        if all(isinstance(value, str | int) for value in values):
            return ["literal", *values]
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return ["shown", "str", kind.__name__]
    plain = _NEAREST.get(origin or kind) or _NAMES.get(origin or kind)
    if plain == "tuple" and parts:
        return (
            ["list", _encode_type(parts[0])]
            if parts[1:] == (...,)
            else ["tuple", *map(_encode_type, parts)]
        )
    if plain in ("list", "dict") and parts:
        return [plain, *map(_encode_type, parts)]
    return plain or ["other", type_text(kind)[:_LONGEST]]


def _limits(notes: tuple[Any, ...]) -> dict[str, float]:
    flat = [
        inner
        for note in notes
        for inner in (note.metadata if isinstance(note, FieldInfo) else [note])
    ]
    found = {
        name: getattr(note, name)
        for note in flat
        for name, kind in _LIMITS.items()
        if isinstance(note, kind)
    }
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _decode(given: Any, depth: int = 0) -> Any:
    if isinstance(given, str):
        return _PLAIN[given]
    word, *parts = given
    if depth > _DEEPEST:
        raise ValueError("a type is nested too deeply")
    if not parts:
        raise ValueError(f"a type {word!r} is made of nothing")
    if word == "other":
        return Annotated[Any, Shown(str(parts[0])[:_LONGEST])]
    if word == "shown":
        return Annotated[_PLAIN[parts[0]], Shown(str(parts[1])[:_LONGEST])]
    if word == "literal":
        return Literal[tuple(parts)]
    if word == "limited":
        notes = tuple(_LIMITS[name](value) for name, value in parts[1].items())
        return Annotated[(_decode(parts[0], depth + 1), *notes)]
    inner = tuple(_decode(part, depth + 1) for part in parts)
    if word == "union":
        return functools.reduce(operator.or_, inner)
    made_of: dict[str, Any] = {"list": list, "dict": dict, "tuple": tuple}
    return made_of[word][inner]

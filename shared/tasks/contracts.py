"""Contracts: the names, arguments and usual queues of tasks, for callers, and as JSON.

Workers publish the contracts of their tasks, and the producer checks arguments against them. No
code is sent. A type that is not plain, nor made of plain types, accepts any value.
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

# The task that calls a plain function. Its arguments: a reference, then the function's arguments.
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
# Types that JSON lacks are sent as the nearest type that it has.
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
# The substitute for a signature that cannot be read.
ANY_ARGUMENTS = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)


class Shown:
    """The text of a default value or type that is only displayed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Contract:
    """The description of a task or a plain function that a caller gets."""

    name: str
    queue: str | None  # the usual queue; None if unknown
    signature: inspect.Signature
    help: str

    def __str__(self) -> str:
        """Return the name and the parameters as readable text."""
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
    """Return the contract of a function."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:
        # For example: a type imported only for the type checker, a function written in C.
        try:
            signature = inspect.signature(function)
        except Exception:
            signature = ANY_ARGUMENTS
    lines = (inspect.getdoc(function) or "").strip().splitlines()
    return Contract(name, queue, signature, lines[0] if lines else "")


def to_json(contract: Contract) -> dict[str, Any]:
    """Return the contract in the form that a worker publishes."""
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
    """Return a contract that a worker published. Raises one of `ODD` if `entry` is invalid."""
    name, queue, line = entry["name"], entry.get("queue"), entry.get("help", "")
    if not isinstance(line, str):
        raise TypeError("the line of help is not a string")
    for word in (name,) if queue is None else (name, queue):
        if not (isinstance(word, str) and word and word.isprintable()):
            raise TypeError("a name is not a printable string")
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


# The exceptions that `from_json` may raise.
ODD = (TypeError, ValueError, LookupError, AttributeError, RecursionError)


def type_text(annotation: Any) -> str:
    """Return a type as readable text, without its limits."""
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
    """Return a type as JSON: the name of a plain type, or a list of a word and its parts."""
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
        raise ValueError(f"the type {word!r} has no parts")
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

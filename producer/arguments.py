"""Words of a command line become the arguments of a task, by the task's own signature."""

import inspect
import json
import math
import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typer.core import TyperCommand

from shared.errors import DaySixError, short
from shared.tasks.contracts import Contract

_KEYWORD = re.compile(r"--([A-Za-z_][\w-]*)(?:=(.*))?", re.DOTALL)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class WrongUsage(DaySixError):
    """Raised when what was typed does not fit; the command ends with exit code 2."""


class _Typed(str):
    """A value as typed on the command line, not yet a value of JSON."""

    __slots__ = ()


class TaskCommand(TyperCommand):
    """A command whose words may be a task's: what stands after ``--`` is kept apart."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for before, word in pairwise(args[:end]):
            if re.match(r"-[\d.]", word) and not before.startswith("--"):
                raise WrongUsage(f"No such option: {word[:2]}; arguments go after --")
        ctx.meta["literal"] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])


def options(context: Any) -> list[str]:
    """The options that a command has itself."""
    return [name for parameter in context.command.params for name in parameter.opts]


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean …?``, or nothing where no word is near."""
    close = get_close_matches(word, list(words), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def parse(
    contract: Contract,
    words: list[str],
    kwargs_json: str,
    *,
    literal: Iterable[str] = (),
    options: Iterable[str] = (),
) -> tuple[list[Any], dict[str, Any]]:
    """The task's positional and keyword arguments, checked and converted.

    ``--name value`` among the words is a keyword argument; `literal` are words that are
    arguments whatever they look like. `options` are the command's own, for a better answer.
    """
    positional, keywords = _split(contract, words, options)
    for name, value in _keywords(kwargs_json).items():
        if name in keywords:
            raise WrongUsage(f"{contract}: {name!r} is given twice, as an option and in --kwargs")
        keywords[name] = value
    try:
        bound = contract.signature.bind(*positional, *map(_Typed, literal), **keywords)
    except TypeError as error:
        raise WrongUsage(f"{contract}: {error}") from None
    for name, value in bound.arguments.items():
        parameter = contract.signature.parameters[name]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            bound.arguments[name] = tuple(_convert(contract, parameter, one) for one in value)
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            bound.arguments[name] = {
                key: _convert(contract, parameter, one) for key, one in value.items()
            }
        else:
            bound.arguments[name] = _convert(contract, parameter, value)
    return list(bound.args), bound.kwargs


def _split(
    contract: Contract, words: list[str], options: Iterable[str]
) -> tuple[list[Any], dict[str, Any]]:
    """The positional words, and what ``--name value`` says."""
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        found = _KEYWORD.fullmatch(word)
        if found is None:
            if re.match(r"-\D", word):
                raise WrongUsage(f"No such option: {word[:2]}; arguments go after --")
            positional.append(_Typed(word))
            continue
        name, flag = _find_parameter(contract, found[1], options)
        if name in keywords:
            raise WrongUsage(f"{contract}: --{found[1]} is given twice")
        given = found[2] if found[2] is not None or flag is not None else next(left, None)
        if given is None and flag is None:
            raise WrongUsage(f"{contract}: --{found[1]} needs a value")
        keywords[name] = flag if given is None else _Typed(given)
    return positional, keywords


def _find_parameter(
    contract: Contract, option: str, options: Iterable[str]
) -> tuple[str, bool | None]:
    """The parameter that an option of the command line names, and a flag's value."""
    parameters = {
        name: parameter
        for name, parameter in contract.signature.parameters.items()
        if parameter.kind in _NAMED
    }
    name = option.replace("-", "_")
    if name in parameters:
        return name, True if parameters[name].annotation is bool else None
    negated = parameters.get(name.removeprefix("no_"))
    if negated is not None and negated.annotation is bool:
        return negated.name, False
    kinds = {parameter.kind for parameter in contract.signature.parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return name, None
    known = [f"--{parameter.replace('_', '-')}" for parameter in parameters]
    raise WrongUsage(
        f"No such option: --{option}{nearest(f'--{option}', [*known, *options]) or '.'} "
        f"The task is {contract}; words that start with a minus go after --"
    )


def _keywords(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        # Also a number with too many digits, and what is nested too deeply.
        raise WrongUsage(f"--kwargs {short(text, 200)} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WrongUsage(f'--kwargs {short(text, 200)} is not a JSON object such as {{"steps": 3}}')
    return value


def _convert(contract: Contract, parameter: inspect.Parameter, value: Any) -> Any:
    adapter = _adapter(parameter.annotation)
    typed = isinstance(value, _Typed)
    value = str(value) if typed else value
    if adapter is None:
        return _read(value) if typed else value
    read = _read(value) if typed else value
    # "[1, 2]" on the command line is a list; a text that is a number is left to the type.
    values = [value] if isinstance(read, str | int | float) else [value, read]
    for each in values:
        try:
            return adapter.validate_python(each)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
    problem = problem[0].lower() + problem[1:]
    raise WrongUsage(f"{contract}: {parameter.name}={short(value, 200)}: {problem}")


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """The check for values of a type; None if any value will do."""
    if annotation in (inspect.Parameter.empty, Any):
        return None
    try:
        adapter = TypeAdapter(annotation)
        return None if adapter.core_schema["type"] == "any" else adapter
    except Exception:
        # A limit that does not go with its type: the worker says so, or lives with it.
        return None


def _read(word: str) -> Any:
    """A word without a type: a value of JSON if it is one, else the text itself."""
    try:
        return json.loads(word, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return word


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value

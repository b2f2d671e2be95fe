"""Words of a command line become the arguments of a task, by the task's own signature."""

import inspect
import json
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.errors import DaySixError
from shared.tasks import CONTRACTS, Contract


class WrongUsage(DaySixError):
    """Raised when what was typed does not fit; the command ends with exit code 2."""


def find(name: str) -> Contract:
    """The task of that name."""
    if name in CONTRACTS:
        return CONTRACTS[name]
    close = get_close_matches(name, CONTRACTS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(CONTRACTS)}"
    raise WrongUsage(f"there is no task {name!r}: {hint} (see producer tasks)")


def parse(
    contract: Contract, words: list[str], kwargs_json: str
) -> tuple[list[Any], dict[str, Any]]:
    """The task's positional and keyword arguments, checked and converted."""
    keywords = _keywords(kwargs_json)
    try:
        bound = contract.signature.bind(*words, **keywords)
    except TypeError as error:
        raise WrongUsage(f"{describe(contract)}: {error}") from None
    for name, value in bound.arguments.items():
        bound.arguments[name] = _convert(contract, name, value)
    return list(bound.args), bound.kwargs


def describe(contract: Contract) -> str:
    """The task's name and parameters, as people read them."""
    parameters = []
    for parameter in contract.signature.parameters.values():
        text = f"{parameter.name}: {_kind(parameter.annotation)}"
        if parameter.default is not inspect.Parameter.empty:
            text += f" = {parameter.default!r}"
        parameters.append(text)
    return f"{contract.name}({', '.join(parameters)})"


def _keywords(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        # Also a number with too many digits, and what is nested too deeply.
        raise WrongUsage(f"--kwargs {_short(text)} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WrongUsage(f'--kwargs {_short(text)} is not a JSON object such as {{"steps": 3}}')
    return value


def _convert(contract: Contract, name: str, value: Any) -> Any:
    annotation = contract.signature.parameters[name].annotation
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        problem = problem[0].lower() + problem[1:]
        raise WrongUsage(f"{describe(contract)}: {name}={_short(value)}: {problem}") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _kind(annotation: Any) -> str:
    # pydantic's NonNegativeInt is Annotated[int, …]: people read the plain type.
    origin = getattr(annotation, "__origin__", annotation)
    return getattr(origin, "__name__", str(origin))

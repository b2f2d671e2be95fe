"""An exception as data: its class by name, its arguments, its attributes.

It comes back as its own class where that is safe: the built-in ones, those of standard
library modules that are loaded already, ours, and those of ``TASK_MODULES``. Anything else
comes back as `RemoteError`, which names it.
"""

import builtins
import sys
import traceback
from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]  # typeshed has it not
from typing import Any

from shared.calls import references
from shared.errors import DaySixError, NotPortable, RemoteError
from shared.settings import current

_LIBRARIES = ("billiard", "celery", "kombu", "redis", "shared")


def parts(error: BaseException) -> list[Any]:
    """The data from which `rebuild` makes this exception again."""
    kind = type(error)
    args, state, call = list(error.args), dict(error.__dict__), False
    reduced: Any = error.__reduce__()
    if isinstance(reduced, tuple) and reduced[0] is kind:
        # A class with other constructor arguments than `args` names them here, as for pickle.
        call = type(error).__reduce__ is not BaseException.__reduce__ and not _is_builtin(
            type(error).__reduce__
        )
        args = list(reduced[1])
        if len(reduced) > 2 and isinstance(reduced[2], dict):
            state = dict(reduced[2])
    return [references.home(kind), kind.__qualname__, args, state, call]


def rebuild(
    module: str, qualname: str, args: list[Any], state: dict[str, Any], call: bool = False
) -> BaseException:
    """Make the exception again, or a `RemoteError` in its place."""
    kind = _find(module, qualname)
    if kind is None:
        return stand_in(f"{module}.{qualname}", ", ".join(map(str, args)))
    if call:
        error = kind(*args)
    else:
        # Its own __init__ has made its text already, and may take other arguments.
        builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        error = kind.__new__(kind, *args)
        builtin.__init__(error, *args)
    error.__setstate__(state)
    return error


def _is_builtin(method: Any) -> bool:
    return not hasattr(method, "__code__")


def stand_in(class_name: str, text: str) -> RemoteError:
    """A `RemoteError` in place of an exception that cannot be sent."""
    return RemoteError(class_name, text)


def describe(error: BaseException) -> str:
    """The traceback as text, as the interpreter would print it."""
    return "".join(traceback.format_exception(error))


def with_traceback(error: BaseException, text: str) -> BaseException:
    """The exception with the remote traceback as its ``__cause__``, as ``multiprocessing`` does."""
    error.__cause__ = RemoteTraceback(text)
    return error


def _find(module: str, qualname: str) -> type[BaseException] | None:
    found: Any = None
    root = module.partition(".")[0]
    if module == "builtins":
        found = getattr(builtins, qualname, None)
    elif references.is_allowed(module, current().allowed_modules):
        try:
            found = references.resolve(f"{module}:{qualname}")
        except (DaySixError, NotPortable):
            return None
    elif (root in sys.stdlib_module_names or root in _LIBRARIES) and module in sys.modules:
        # Never import a module for a name in a message. Look only into loaded modules.
        found = sys.modules[module]
        for part in qualname.split("."):
            found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    return None

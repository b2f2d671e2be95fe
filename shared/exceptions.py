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

from shared import references
from shared.errors import DaySixError, NotPortable, RemoteError
from shared.settings import current

_LIBRARIES = ("billiard", "celery", "kombu", "redis", "shared")


def parts(error: BaseException) -> list[Any]:
    """What `rebuild` needs to make this exception again."""
    kind = type(error)
    args = error.args
    reduced = error.__reduce__()
    if isinstance(reduced, tuple) and reduced[0] is kind:
        # A class that needs other arguments than it shows says so here, as for pickle.
        args = reduced[1]
    notes = {"__notes__", *error.__dict__}
    state = {name: error.__dict__[name] for name in notes if name in error.__dict__}
    return [kind.__module__, kind.__qualname__, list(args), state]


def rebuild(module: str, qualname: str, args: list[Any], state: dict[str, Any]) -> BaseException:
    """The exception again, or a `RemoteError` that stands in for it."""
    kind = _find(module, qualname)
    if kind is None:
        return stand_in(f"{module}.{qualname}", ", ".join(map(str, args)))
    try:
        error = kind(*args)
    except TypeError:
        # Its __init__ takes other arguments than it passed on to Exception.
        error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def stand_in(class_name: str, text: str) -> RemoteError:
    """What takes the place of an exception that cannot travel."""
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
        # Nothing is imported for a name in a message: only what is here anyway is looked at.
        found = sys.modules[module]
        for part in qualname.split("."):
            found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    return None

"""References to functions and classes (``"module:qualname"``), and the allow-list for them.

Only names are sent, never code. A worker imports nothing outside ``TASK_MODULES`` and the fixed
list in `shared.calls.harmless`, whatever a message contains. The caller checks a reference against
the same lists before sending.
"""

import functools
import hashlib
import os
import socket
import sys
import types
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.calls import harmless
from shared.errors import CodeDiffers, NotAllowed, NotPortable
from shared.settings import current

# The laboratory's modules: harmless work, and a probe that runs only allowed functions.
_ALWAYS_ALLOWED = ("shared.laboratory.probes", "shared.laboratory.workloads")
# The folder that contains `examples`. An editable installation does not add it to `sys.path`.
_ROOT = str(Path(__file__).parents[2])


def is_allowed(module: str, allowed: Iterable[str]) -> bool:
    """True if the allow-list names this module or a package that contains it."""
    return module in _ALWAYS_ALLOWED or any(
        module == name or module.startswith(name + ".") for name in allowed
    )


def check_allowed(reference: str, allowed: tuple[str, ...] | None = None) -> None:
    """Raise `NotAllowed` unless the reference's module is on the allow-list."""
    allowed = current().allowed_modules if allowed is None else allowed
    module = reference.partition(":")[0]
    if is_allowed(module, allowed) or reference in harmless.references():
        return
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names:
        advice = "call it inside a function of a module there"
    else:
        advice = f"add {root!r} there, for the producer and for the workers"
    raise NotAllowed(reference, ", ".join(allowed) or "empty", advice)


def check_allowed_module(reference: str) -> None:
    """Raise `NotAllowed` unless ``TASK_MODULES`` itself names the reference's module."""
    allowed = current().allowed_modules
    if not is_allowed(reference.partition(":")[0], allowed):
        raise NotAllowed(reference, ", ".join(allowed) or "empty")


def reference(target: Any, allowed: tuple[str, ...] | None = None) -> str:
    """Return the name under which a worker finds this function or class.

    Raises `NotPortable` for a function without a name (a lambda, a closure, a local function), and
    `NotAllowed` for one outside ``TASK_MODULES`` and the list in `shared.calls.harmless`.
    """
    qualname = getattr(target, "__qualname__", None)
    module = getattr(target, "__module__", None)
    if module is None and isinstance(target, types.BuiltinFunctionType):
        owner = target.__self__
        module = owner.__module__ if isinstance(owner, type) else getattr(owner, "__name__", None)
    if not isinstance(qualname, str) or not isinstance(module, str):
        if (listed := harmless.name_of(target)) is not None:
            return listed
        raise NotPortable(_describe(target), "it has no module and name of its own")
    if "<lambda>" in qualname:
        raise NotPortable(_describe(target), "a lambda has no name; use a function of a module")
    if "<locals>" in qualname:
        raise NotPortable(
            _describe(target), "it is defined inside a function; move it to its module's top level"
        )
    loaded = sys.modules.get(module)
    if module == "__main__":
        module = main_module(allowed)
    name = f"{module}:{qualname}"
    if not is_allowed(module, current().allowed_modules if allowed is None else allowed):
        if (listed := harmless.name_of(target)) is not None:
            return listed
        check_allowed(name, allowed)
    found = _lookup(loaded, qualname)
    # The lookup of a class method gives a bound method.
    if found != target and getattr(found, "__func__", None) is not target:
        raise NotPortable(_describe(target), f"{name!r} is another object there, or none")
    return name


def resolve(name: str, allowed: tuple[str, ...] | None = None, *, listed: bool = True) -> Any:
    """Return the object that a reference names. Imports its module if necessary.

    The object must be *defined* in an allowed module. A name that such a module only imports
    (``os.system``) is refused. If `listed` is false, the list in `shared.calls.harmless` is
    ignored: its types may be called, but not rebuilt from a state.
    """
    module_name, separator, qualname = name.partition(":")
    if not separator or not module_name or not qualname:
        raise NotPortable(repr(name), "a reference looks like 'module:name'")
    if listed and name in harmless.references():
        return _listed(name)
    if listed or allowed is not None:
        check_allowed(name, allowed)
    else:
        check_allowed_module(name)
    # Do not import the running script a second time under its own name.
    main = _main_module(current().allowed_modules if allowed is None else allowed)
    try:
        module = sys.modules["__main__"] if module_name == main else import_module(module_name)
    except (Exception, SystemExit) as error:
        # Importing runs the module's code, which may raise any exception.
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise NotPortable(
            repr(name),
            f"the worker cannot import {module_name!r} ({reason}); can it read that file?",
        ) from error
    target = _lookup(module, qualname)
    if target is None:
        raise NotPortable(
            repr(name),
            f"module {module_name!r} has no {qualname!r}; if it was added since, restart the workers",
        )
    home = getattr(target, "__module__", None) or getattr(
        getattr(target, "__self__", None), "__name__", ""
    )
    check_allowed(f"{main if home == '__main__' else home}:{qualname}", allowed)
    return target


def _listed(name: str) -> Any:
    try:
        found = harmless.find(name)
    except ImportError as error:
        raise NotPortable(repr(name), f"the worker cannot import it ({error})") from error
    if found is None:
        raise NotPortable(repr(name), "the worker's version of Python or of the library lacks it")
    return found


def resolve_function(name: str, allowed: tuple[str, ...] | None = None) -> Callable[..., Any]:
    """Return the callable that a reference names."""
    target = resolve(name, allowed)
    if not callable(target):
        raise NotPortable(repr(name), f"it is a {type(target).__name__}, not a function")
    return target  # type: ignore[no-any-return]


def home(target: Any) -> str:
    """Return the name under which others import the module of a function or class."""
    module = str(getattr(target, "__module__", ""))
    return (_main_module(current().allowed_modules) or module) if module == "__main__" else module


def main_module(allowed: tuple[str, ...] | None = None) -> str:
    """Return the name under which others can import the running script.

    ``python -m package.module`` gives the name. For a plain script, the name is its path relative
    to the working directory, a folder of ``sys.path`` or the project, if that name is allowed.
    """
    allowed = current().allowed_modules if allowed is None else allowed
    name = _main_module(allowed)
    if name is not None:
        return name
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise NotPortable(
            "a function of __main__", "an interactive session has no module; put it into a file"
        )
    raise NotAllowed(
        f"{file} (the script that is running)",
        ", ".join(allowed) or "empty",
        "move the functions into a module there, or start the stack with "
        f"--scripts {Path(file).resolve().parent} and use: producer run {file}",
    )


def _main_module(allowed: tuple[str, ...]) -> str | None:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return _name_of_script(file, allowed) if file is not None else None


@functools.lru_cache(maxsize=8)
def _name_of_script(file: str, allowed: tuple[str, ...]) -> str | None:
    path = Path(file).resolve().with_suffix("")
    for folder in [os.getcwd(), *sys.path, _ROOT]:
        try:
            name = ".".join(path.relative_to(Path(folder).resolve()).parts)
        except ValueError:
            continue
        if is_allowed(name, allowed):
            return name
    return None


@functools.lru_cache(maxsize=1_000)
def fingerprint(module_name: str) -> str:
    """Return a hash of the module's source file; "" if there is none.

    It is also "" for the standard library and numpy, because caller and worker may run different
    versions of them.
    """
    if module_name.partition(".")[0] in {*sys.stdlib_module_names, "numpy"}:
        return ""
    module = sys.modules.get(module_name)
    if module is None:
        main = sys.modules["__main__"]
        module = main if getattr(main, "__file__", None) else None
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(".py"):
        return ""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def forget() -> None:
    """Clear the cached fingerprints: modules may have been edited and imported again."""
    fingerprint.cache_clear()


def check_fingerprint(module_name: str, mark: str) -> None:
    """Raise `CodeDiffers` if this process and the caller have loaded different source."""
    mine = fingerprint(module_name)
    if mark and mine and mine != mark:
        raise CodeDiffers(module_name, socket.gethostname())


def _lookup(module: Any, qualname: str) -> Any:
    """Return the object of that name; None if there is none or if it is a module."""
    target = module
    for part in qualname.split("."):
        target = getattr(target, part, None)
        if isinstance(target, types.ModuleType):
            return None
    return target


def _describe(target: Any) -> str:
    return f"{getattr(target, '__qualname__', None) or repr(target)[:80]}"

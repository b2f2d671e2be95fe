"""Whose ``import multiprocessing`` means ours: the scripts of ``producer run``.

Only imports that stand in the script, or in a module of its folder, are redirected: the
libraries underneath keep the standard library's. A worker does the same to the script's
functions, because the calls of such a script name it. A module that a worker has imported
before, for somebody else, stays as it is.

What a script imports from its own folder goes by the name that the workers know it under:
``import tools`` in ``examples/mine.py`` is ``examples.tools`` on both sides.
"""

import builtins
import contextlib
import functools
import importlib
import os
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.calls import references
from shared.settings import current

REDIRECTED = {"multiprocessing": "shared.multiprocessing", "concurrent.futures": "shared.futures"}

_script = ""
_folders: dict[str, str] = {}  # a folder, and the package that it is
_original = builtins.__import__


def run(script: str, folder: Path) -> None:
    """Redirect the imports of a script's folder, here and where its calls run."""
    global _script  # noqa: PLW0603 - a process runs one script
    _script = script
    redirect(script, folder)


def script() -> str:
    """The script that this process runs by ``producer run``, by its module's name."""
    return _script


def redirect(script: str, folder: Path) -> None:
    """From now on, redirect what the modules of this script's folder import."""
    _folders[str(folder) + os.sep] = script.rpartition(".")[0]
    builtins.__import__ = _import  # type: ignore[assignment]


@functools.lru_cache(maxsize=1_000)
def follow(script: str) -> None:
    """Redirect here what the caller redirects, which runs the module of that name."""
    if not references.is_allowed(script, current().allowed_modules):
        return
    # One that cannot be found is refused where its functions are looked up, with the reason.
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(script)
        if spec is not None and spec.origin is not None:
            redirect(script, Path(spec.origin).resolve().parent)


def _import(
    name: str,
    namespace: dict[str, Any] | None = None,
    local: Any = None,
    fromlist: Any = (),
    level: int = 0,
) -> Any:
    file = str((namespace or {}).get("__file__", ""))
    folder = next((folder for folder in _folders if file.startswith(folder)), "")
    inside = level == 0 and folder != ""
    names = tuple(fromlist or ())
    if inside and name == "concurrent" and "futures" in names:
        return _concurrent()  # from concurrent import futures
    target = _target(name) if inside else None
    if target is None:
        if inside and _folders[folder] and _is_neighbour(folder, name):
            known = f"{_folders[folder]}.{name}"
            found = _original(known, namespace, local, names or ("*",))
            return found if names else sys.modules[f"{_folders[folder]}.{name.partition('.')[0]}"]
        return _original(name, namespace, local, fromlist, level)
    module = importlib.import_module(target)
    if not names:
        # `import a.b` binds a, and the script then says a.b.c.
        return _concurrent() if name.startswith("concurrent") else _module("multiprocessing")
    for part in names:
        if part != "*" and not hasattr(module, part):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{target}.{part}")
    return module


def _is_neighbour(folder: str, name: str) -> bool:
    """Whether plain Python would find this module in the script's folder."""
    first = name.partition(".")[0]
    if first in sys.builtin_module_names:
        return False
    return os.path.isfile(f"{folder}{first}.py") or os.path.isfile(f"{folder}{first}/__init__.py")


def _concurrent() -> Any:
    return types.SimpleNamespace(futures=_module("futures"))


def _module(name: str) -> types.ModuleType:
    return importlib.import_module(f"shared.{name}")


def _target(name: str) -> str | None:
    for theirs, ours in REDIRECTED.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name.removeprefix(theirs)
    return None

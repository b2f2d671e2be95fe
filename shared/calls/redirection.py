"""Redirects ``import multiprocessing`` to this library, in scripts of ``producer run``.

Only imports in the script and in the modules of its folder are redirected. Other libraries keep
the standard library's modules. The calls of such a script name it, so that a worker redirects its
imports too. A module that a worker has imported before, for another caller, stays unchanged.

A module in the script's folder gets the name that the workers use: ``import tools`` in
``examples/mine.py`` is ``examples.tools`` on both sides.

Code for threads shares memory, so thread pools stay the standard library's, in the script's own
process, unless the script is run with ``--threads``.
"""

import ast
import builtins
import contextlib
import functools
import importlib
import os
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.broker.keys import new_word
from shared.calls import references
from shared.errors import Unguarded
from shared.settings import current

_TOP = "multiprocessing"
REDIRECTED = {_TOP: "shared.multiprocessing", "concurrent.futures": "shared.futures"}

# The names that stay the standard library's where threads stay local; None: the whole module.
_OF_THREADS: dict[str, tuple[str, ...] | None] = {
    "concurrent.futures": ("ThreadPoolExecutor",),
    "multiprocessing.pool": ("ThreadPool",),
    "multiprocessing.dummy": None,
}


@dataclass(frozen=True)
class Script:
    """A script that `producer run` runs in this process."""

    name: str  # as a module
    threads: bool = False  # whether thread pools are sent to the workers
    guarded: tuple[range, ...] = ()  # lines under ``if __name__ == "__main__":``
    argv: tuple[str, ...] = ()  # its ``sys.argv``
    run: str = field(default_factory=new_word)


@dataclass(frozen=True)
class _Folder:
    package: str
    threads: bool


# Each call carries the script's arguments, so a longer command line stays here.
_ARGV_BYTES = 16 * 1024

_script: Script | None = None
_folders: dict[str, _Folder] = {}
_original = builtins.__import__


def run(script: Script, folder: Path) -> None:
    """Redirect the imports of a script's folder, here and where its calls run."""
    global _script  # noqa: PLW0603 - a process runs one script
    _script = script
    redirect(script.name, folder, threads=script.threads)


def options() -> dict[str, Any]:
    """The options that a script's calls carry. Empty without ``producer run``."""
    if _script is None:
        return {}
    threads = {"thread_pools": True} if _script.threads else {}
    # Bytes: a word of a command line need not be UTF-8, and text in a message is.
    argv = [os.fsencode(word) for word in _script.argv]
    words = {"argv": argv} if sum(map(len, argv)) <= _ARGV_BYTES else {}
    return {"script": _script.name, "run": _script.run, **threads, **words}


def redirect(script: str, folder: Path, *, threads: bool = False) -> None:
    """Start redirecting the imports of the modules in this script's folder."""
    _folders[str(folder) + os.sep] = _Folder(script.rpartition(".")[0], threads)
    builtins.__import__ = _import  # type: ignore[assignment]


def forget() -> tuple[str, ...]:
    """Stop redirecting. Returns the folders whose modules were redirected."""
    folders = tuple(_folders)
    _folders.clear()
    follow.cache_clear()
    return folders


def guarded_lines(source: str | bytes) -> tuple[range, ...]:
    """The lines of a script that run only where it is the main program."""
    return tuple(
        range(guard.body[0].lineno, (guard.body[-1].end_lineno or 0) + 1)
        for guard in _guards(source)
    )


def _guards(source: str | bytes) -> Iterator[ast.If]:
    """Yield the statements like ``if __name__ == "__main__":``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and any(
            isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
        ):
            yield node


def explain(error: BaseException) -> None:
    """Add a note to a NameError whose name a script sets only where it is the main program."""
    if not isinstance(error, NameError) or error.__traceback__ is None:
        return
    frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        source = Path(frame.f_globals.get("__file__", "")).read_bytes()
        statements = [one for guard in _guards(source) for one in guard.body]
        if any(_bound(node) == error.name for one in statements for node in ast.walk(one)):
            error.add_note(
                f'{error.name!r} is set under `if __name__ == "__main__":`, which a worker does '
                "not run (nor does `spawn`): pass it as an argument, or to an initializer"
            )


def _bound(node: ast.AST) -> str:
    """Return the name that a node of a syntax tree binds, or an empty text."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.alias):
        return node.asname or node.name
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else ""


def check_guard(what: str) -> None:
    """Raise `Unguarded` where the running script starts a process or pool outside its guard.

    A worker imports the script to find its functions, and would start `what` once more.
    """
    if _script is None:
        return
    main = sys.modules["__main__"].__dict__
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - Python's own
    while frame is not None:
        if frame.f_globals is main and frame.f_code.co_name == "<module>":
            line = frame.f_lineno
            if not any(line in lines for lines in _script.guarded):
                raise Unguarded(main.get("__file__", _script.name), line, what)
            return
        frame = frame.f_back


@functools.lru_cache(maxsize=1_000)
def follow(script: str, *, threads: bool = False) -> None:
    """Redirect, on a worker, the imports of the caller's script, given by its module name."""
    if not references.is_allowed(script, current().allowed_modules):
        return
    # If the script cannot be found, looking up its functions raises the error, with the reason.
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(script)
        if spec is not None and spec.origin is not None:
            redirect(script, Path(spec.origin).resolve().parent, threads=threads)


def _import(
    name: str,
    namespace: dict[str, Any] | None = None,
    local: Any = None,
    fromlist: Any = (),
    level: int = 0,
) -> Any:
    file = str((namespace or {}).get("__file__", ""))
    folder = next((folder for folder in _folders if file.startswith(folder)), "")
    if level or not folder:
        return _original(name, namespace, local, fromlist, level)
    package, threads = _folders[folder].package, _folders[folder].threads
    names = tuple(fromlist or ())
    if name == "concurrent" and "futures" in names:
        return _concurrent(threads)  # from concurrent import futures
    if not _is_redirected(name):
        if package and _is_neighbour(folder, name):
            known = f"{package}.{name}"
            found = _original(known, namespace, local, names or ("*",))
            return found if names else sys.modules[f"{package}.{name.partition('.')[0]}"]
        return _original(name, namespace, local, fromlist, level)
    module = _module(name, threads)
    if not names:
        # `import a.b` binds a, and the script then says a.b.c.
        return _concurrent(threads) if name.startswith("concurrent") else _module(_TOP, threads)
    for part in names:
        if part != "*" and not hasattr(module, part):
            with contextlib.suppress(ImportError):
                _module(f"{name}.{part}", threads)
    return module


def _is_neighbour(folder: str, name: str) -> bool:
    """True if plain Python would find this module in the script's folder."""
    first = name.partition(".")[0]
    if first in sys.builtin_module_names:
        return False
    return os.path.isfile(f"{folder}{first}.py") or os.path.isfile(f"{folder}{first}/__init__.py")


def _is_redirected(name: str) -> bool:
    return any(name == theirs or name.startswith(theirs + ".") for theirs in REDIRECTED)


def _concurrent(threads: bool) -> Any:
    return types.SimpleNamespace(futures=_module("concurrent.futures", threads))


class _Facade(types.ModuleType):
    """A module of the standard library, with our names in place of those that we have."""

    def __init__(self, theirs: str, ours: types.ModuleType | None, threads: bool) -> None:
        super().__init__(theirs)
        self._theirs = importlib.import_module(theirs)
        self._ours = ours
        self._threads = threads
        self._local = () if threads else _OF_THREADS.get(theirs) or ()
        found = ours or self._theirs
        self.__all__ = getattr(found, "__all__", None) or [n for n in vars(found) if n[0] != "_"]

    def __getattr__(self, name: str) -> Any:
        if name in self._local:
            return getattr(self._theirs, name)
        if f"{self.__name__}.{name}" in {*sys.modules, *_OF_THREADS}:
            return _module(f"{self.__name__}.{name}", self._threads)
        if self._ours is not None:
            return getattr(self._ours, name)
        # A part of theirs that we have no module for: `multiprocessing.context` and the like.
        for ours in map(importlib.import_module, REDIRECTED.values()):
            if name in ours.__all__:
                return getattr(ours, name)
        return getattr(self._theirs, name)


@functools.cache
def _module(theirs: str, threads: bool) -> types.ModuleType:
    """The module that a script gets for a name of the standard library."""
    if not threads and theirs in _OF_THREADS and _OF_THREADS[theirs] is None:
        return importlib.import_module(theirs)
    root = next(root for root in REDIRECTED if theirs == root or theirs.startswith(root + "."))
    name = REDIRECTED[root] + theirs.removeprefix(root)
    try:
        ours = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return _Facade(theirs, None, threads)
    return _Facade(theirs, ours, threads)

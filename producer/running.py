"""Run a script unmodified, with its ``multiprocessing`` and ``concurrent.futures`` being ours.

Only imports that stand in the script, or in a module of its folder, are redirected: the
libraries underneath keep the standard library's.
"""

import builtins
import contextlib
import importlib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from producer.arguments import WrongUsage
from shared.multiprocessing import process

REDIRECTED = {"multiprocessing": "shared.multiprocessing", "concurrent.futures": "shared.futures"}


def run(script: str, words: list[str]) -> None:
    """Run the script as ``__main__`` with these arguments; what it raises is raised."""
    path = Path(script).resolve()
    if not path.is_file():
        raise WrongUsage(f"{script!r} is not a file; name a script such as examples/s2_pool.py")
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError) as error:
        raise WrongUsage(f"{script} is not a Python script: {error}") from None
    _allow(path)
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=builtins)
    sys.modules["__main__"] = main
    sys.argv = [script, *words]
    sys.path.insert(0, str(path.parent))
    try:
        with _redirected_imports(path.parent):
            exec(code, main.__dict__)  # noqa: S102 - that is what the command is for
    except KeyboardInterrupt:
        # The terminal's Ctrl-C would have reached local processes too.
        process.end_children()
        raise
    if process.failure() is not None:
        # Said already; locally, a child could not be lost without its parent.
        raise SystemExit(1)


def _allow(path: Path) -> None:
    """Let the caller's side accept the script's functions, under the name the workers know."""
    from shared import references, settings
    from shared.errors import DaySixError

    allowed = settings.current().allowed_modules
    for folder in (Path.cwd(), *map(Path, sys.path)):
        with contextlib.suppress(ValueError):
            name = ".".join(path.with_suffix("").relative_to(folder.resolve()).parts)
            if references.is_allowed(name, allowed):
                return
    if references.is_allowed(path.stem, allowed):
        return
    raise DaySixError(
        f"the workers do not know {path.name}: put it into examples/, or start the stack with "
        f"--scripts {path.parent}"
    )


@contextlib.contextmanager
def _redirected_imports(folder: Path) -> Iterator[None]:
    original = builtins.__import__
    prefix = str(folder) + os.sep

    def redirect(
        name: str,
        namespace: dict[str, Any] | None = None,
        local: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        inside = level == 0 and str((namespace or {}).get("__file__", "")).startswith(prefix)
        names = tuple(fromlist or ())
        if inside and name == "concurrent" and "futures" in names:
            return _concurrent()  # from concurrent import futures
        target = _target(name) if inside else None
        if target is None:
            return original(name, namespace, local, fromlist, level)
        module = importlib.import_module(target)
        if not names:
            # `import a.b` binds a, and the script then says a.b.c.
            return _concurrent() if name.startswith("concurrent") else _module("multiprocessing")
        for part in names:
            if part != "*" and not hasattr(module, part):
                with contextlib.suppress(ImportError):
                    importlib.import_module(f"{target}.{part}")
        return module

    builtins.__import__ = redirect  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.__import__ = original


def _concurrent() -> Any:
    return types.SimpleNamespace(futures=_module("futures"))


def _module(name: str) -> types.ModuleType:
    return importlib.import_module(f"shared.{name}")


def _target(name: str) -> str | None:
    for theirs, ours in REDIRECTED.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name.removeprefix(theirs)
    return None

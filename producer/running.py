"""Run a script unmodified, with its ``multiprocessing`` and ``concurrent.futures`` being ours."""

import builtins
import os
import sys
import types
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from producer.arguments import WrongUsage
from shared.calls import redirection, references
from shared.errors import DaySixError, NotAllowed
from shared.multiprocessing import process


def run(script: str, words: list[str], *, module: bool = False, threads: bool = False) -> None:
    """Run the script as ``__main__`` with these arguments; ends as the interpreter would.

    `module`: the script is named as for ``python -m``. `threads`: its thread pools run on the
    threads workers, too; else they stay in this process.
    """
    spec = _spec(script) if module else None
    path = Path(spec.origin if spec is not None and spec.origin else script).resolve()
    source = _read(script, path)
    try:
        code = compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        raise WrongUsage(f"{script} is not a Python script: {error}") from None
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=builtins, __spec__=spec)
    if spec is not None:
        main.__package__ = spec.parent
    sys.modules["__main__"] = main
    sys.argv = [script if spec is None else str(path), *words]
    if spec is None:
        sys.path.insert(0, str(path.parent))
    guarded = redirection.guarded_lines(source)
    script_run = redirection.Script(_name(path), threads, guarded, tuple(sys.argv))
    redirection.run(script_run, path.parent)
    try:
        exec(code, main.__dict__)  # noqa: S102 - that is what the command is for
    except KeyboardInterrupt:
        # The terminal's Ctrl-C would have reached local processes too.
        process.end_children()
        raise
    except DaySixError:
        raise  # one line
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != str(path):
            trace = trace.tb_next  # our own frames
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        raise SystemExit(1) from None
    if process.failure() is not None:
        # Said already; locally, a child could not be lost without its parent.
        raise SystemExit(1)


def _spec(module: str) -> ModuleSpec:
    """The file that ``python -m`` runs for a module; for a package, its ``__main__``."""
    sys.path.insert(0, os.getcwd())
    try:
        spec = find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{module}.__main__")
    except (ImportError, ValueError) as error:
        raise WrongUsage(f"no module {module!r} to run: {error}") from None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise WrongUsage(f"no module {module!r} to run; run it from the folder that holds it")
    return spec


def _read(script: str, path: Path) -> bytes:
    if script == "-":
        raise WrongUsage(
            "a script from standard input has no name for the workers: put it in a file"
        )
    try:
        return path.read_bytes()
    except OSError:
        raise WrongUsage(
            f"{script!r} is not a file; name a script such as examples/s2_pool.py"
        ) from None


def _name(path: Path) -> str:
    """The script's name as a module, under which the workers know its functions."""
    try:
        return references.main_module()
    except NotAllowed:
        raise DaySixError(
            f"the workers do not know {path.name}: put it into examples/, or start the stack with "
            f"--scripts {path.parent} (anew, if the script is newer than the stack)"
        ) from None

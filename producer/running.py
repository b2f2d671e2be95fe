"""Run a script unmodified, with its ``multiprocessing`` and ``concurrent.futures`` being ours."""

import builtins
import sys
import types
from pathlib import Path

from producer.arguments import WrongUsage
from shared.calls import redirection, references
from shared.errors import DaySixError, NotAllowed
from shared.multiprocessing import process


def run(script: str, words: list[str]) -> None:
    """Run the script as ``__main__`` with these arguments; ends as the interpreter would."""
    path = Path(script).resolve()
    if not path.is_file():
        raise WrongUsage(f"{script!r} is not a file; name a script such as examples/s2_pool.py")
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError) as error:
        raise WrongUsage(f"{script} is not a Python script: {error}") from None
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=builtins)
    sys.modules["__main__"] = main
    sys.argv = [script, *words]
    sys.path.insert(0, str(path.parent))
    redirection.run(_name(path), path.parent)
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


def _name(path: Path) -> str:
    """The script's name as a module, under which the workers know its functions."""
    try:
        return references.main_module()
    except NotAllowed:
        raise DaySixError(
            f"the workers do not know {path.name}: put it into examples/, or start the stack with "
            f"--scripts {path.parent}"
        ) from None

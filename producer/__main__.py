"""The `producer` command."""

import re
import sys
from typing import Annotated, Any

import typer

from producer.commands import (
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    deadletters,
    laboratory,
    schedule,
    scripts,
    service,
    tasks,
)
from producer.printing import CannotWrite, close_stdout, open_streams, say

app = typer.Typer(
    name="producer",
    help="Send tasks to the workers, watch them, and run the tutorial's rows on them.",
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The modules of commands, as --help lists them. A name makes the module's commands one lower.
GROUPS = (
    (None, laboratory),
    (None, tasks),
    (None, service),
    (None, scripts),
    ("dead", deadletters),
    ("schedule", schedule),
)
for _name, _module in GROUPS:
    app.add_typer(_module.app, name=_name)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"producer {version('day-six')}")
        raise typer.Exit


@app.callback()
def show_help(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Send tasks to the workers, watch them, and run the tutorial's rows on them."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run a command; a foreseen failure is one line on stderr, never a traceback."""
    open_streams()
    status: Any = 0
    try:
        _run()
    except SystemExit as ended:
        status = ended.code
    problem = close_stdout()
    if problem and not status:
        say(f"cannot write the output: {problem}")
        status = FAILED
    sys.exit(status)


def _run() -> None:
    try:
        from typer.exceptions import Abort, TyperException

        from producer.arguments import WrongUsage
        from shared.errors import DaySixError, SettingsError

        status = app(standalone_mode=False)
    except KeyboardInterrupt:  # the first: it may come before the others have their names
        _stop("interrupted", INTERRUPTED)
    except WrongUsage as error:
        _stop(error, WRONG_USAGE)
    except SettingsError as error:
        _stop(error, WRONG_USAGE)
    except DaySixError as error:
        _stop(error, FAILED)
    except TyperException as error:
        line = error.format_message().partition("\n")[0].replace("Value error, ", "")
        if re.fullmatch(r"No such option: -[\d.].*", line):
            line += "; arguments go after --"
        _stop(line, error.exit_code)
    except Abort:
        _stop("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.exit(FAILED)
    except OSError as error:
        _stop(CannotWrite(error), FAILED)
    else:
        if status == INTERRUPTED:  # what typer makes of Ctrl-C
            say("interrupted")
        sys.exit(status if isinstance(status, int) else 0)


def _stop(error: object, status: int) -> None:
    if str(error):
        say(str(error))
    sys.exit(status)


if __name__ == "__main__":
    main()

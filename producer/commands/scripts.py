"""``producer run``: a script, its pools on the workers."""

from typing import Annotated

import typer

from producer.printing import say

app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Run a script unmodified on the workers.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""Examples:

  producer run examples/s2_pool.py

  producer run --threads examples/s6_executor.py

  producer run -m mypackage.main 10

  producer stack --scripts ~/mine -- producer run ~/mine/script.py 10
""",
)
def run(
    script: Annotated[str, typer.Argument(help="A script that the workers see, too.")],
    args: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
    module: Annotated[
        bool, typer.Option("-m", help="SCRIPT is a module's name, as for python -m.")
    ] = False,
    threads: Annotated[
        bool,
        typer.Option("--threads", help="Send thread pools to the threads workers, too."),
    ] = False,
) -> None:
    """Run a script unmodified, its multiprocessing and concurrent.futures on the workers.

    Thread pools share memory with the rest of the script, so they stay in its own process
    unless --threads sends them away.
    """
    from producer import running
    from shared.broker import presence

    if not presence.workers():
        say("no worker is alive: what the script sends waits in its queue")
    running.run(script, args or [], module=module, threads=threads)

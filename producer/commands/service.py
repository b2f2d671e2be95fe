"""``producer status``, ``watch``, ``stack`` and ``metrics``: the service as a whole."""

import logging
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from producer.commands import Json
from producer.printing import console, print_json, say

app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Show each pool: workers, running, queued …",
    epilog="""Examples:

  producer status

  producer status --watch

  producer status --json | jq '.[].queued'
""",
)
def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew each second, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Show each pool: workers, concurrency, running, queued, done, failed."""
    import time

    from rich.live import Live

    from producer import status as states
    from shared.broker import deadletters

    states.warn()
    if not watch:
        if json:
            print_json([asdict(state) for state in states.read()])
        else:
            console().print(states.table(states.read()))
            if letters := deadletters.count():
                say(f"{letters:,} dead letter{'s' * (letters > 1)}; see: producer dead list")
        return
    if json:
        while True:
            print_json([asdict(state) for state in states.read()], indent=None)
            time.sleep(1)
    with Live(states.table(states.read()), console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(1)
            live.update(states.table(states.read()), refresh=True)


@app.command(
    short_help="Watch pools, queues and tasks live.",
    epilog="""Examples:

  producer watch

  producer watch --once --json | jq '.workers[].tasks_a_second'
""",
)
def watch(
    once: Annotated[bool, typer.Option("--once", help="Show it once, then end.")] = False,
    json: Json = False,
) -> None:
    """Watch pools, queues, throughput and the last tasks; q ends it."""
    from producer import watching
    from producer.arguments import WrongUsage
    from shared.broker.connections import foreseen

    # What is no event is skipped; its line would stand in the picture.
    logging.getLogger("shared.broker.transport").setLevel(logging.ERROR)
    if json and not once:
        raise WrongUsage("--json goes with --once; `producer status --watch --json` goes on and on")
    with foreseen(), watching.Events() as events:
        if once:
            events.listen_to_all()
            shown = events.view()
            if json:
                print_json(shown.as_dict())
            else:
                console().print(watching.dashboard(shown, 20))
            return
        watching.live(events)


@app.command(
    short_help="Start the service as local processes.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""Examples:

  producer stack

  producer stack -- producer tour

  TASK_MODULES=mymodule producer stack -- python my_script.py
""",
)
def stack(
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this with the stack's environment, then stop.")
    ] = None,
    flower_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Flower's port; by default a free one.")
    ] = None,
    scripts: Annotated[
        str | None, typer.Option(metavar="DIR", help="A folder whose scripts the workers may run.")
    ] = None,
    beat: Annotated[
        bool, typer.Option("--beat", help="Start a scheduler too: see producer schedule.")
    ] = False,
    stay_on_tty: Annotated[
        bool, typer.Option("--stay-on-tty", help="On a terminal, stay after COMMAND until Ctrl-C.")
    ] = False,
) -> None:
    """Start Redis, the three workers and Flower as local processes, without Docker."""
    from producer import stack as local

    # Not by typer: it says itself what ended it.
    sys.exit(
        local.run(
            command or [],
            flower_port=flower_port,
            scripts=scripts,
            beat=beat,
            stay=stay_on_tty and sys.stdout.isatty(),
        )
    )


@app.command(
    short_help="Print or serve figures for Prometheus.",
    epilog="""Examples:

  producer metrics

  producer metrics --serve 9808
""",
)
def metrics(
    serve: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="Serve GET /metrics until Ctrl-C."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Print queue lengths, ages, dead letters and lost leases in Prometheus' format."""
    from producer import metrics as exporter

    if serve is None:
        print(exporter.text(), end="")
        return
    server, thread = exporter.serve(host, serve)
    say(f"serving http://{host}:{serve}/metrics")
    try:
        thread.join()
    finally:
        server.shutdown()

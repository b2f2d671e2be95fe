"""The `producer` command."""

import re
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from producer import deadletters, scheduling, watching
from producer.arguments import TaskCommand
from producer.laboratory import commands as laboratory
from producer.printing import (
    CannotWrite,
    Sheet,
    close_stdout,
    console,
    open_streams,
    print_json,
    say,
    tell,
)
from shared.pools import PoolKind

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="producer",
    help="Send tasks to the workers, watch them, and run the tutorial's rows on them.",
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(deadletters.app, name="dead")
app.add_typer(scheduling.app, name="schedule")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


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


@app.command(
    short_help="Run the tutorial's rows, local beside cluster.",
    epilog="""Examples:

  producer tour

  producer tour --row S3 --row S4

  producer tour --json | jq '.[] | select(.ok | not)'

  producer tour --report tour.html
""",
)
def tour(
    row: Annotated[list[str] | None, typer.Option(help="Only this row; may be repeated.")] = None,
    report: laboratory.TourReport = None,
    json: Json = False,
) -> None:
    """Run the tutorial's rows, locally and on the cluster, side by side."""
    import os

    # The table is the output here; what the tasks print would stand between its lines.
    os.environ.setdefault("OUTPUT", "off")
    from rich.console import Console

    from producer import tour as rows
    from shared.broker.connections import foreseen, store

    chosen = rows.choose(row or [])
    laboratory.check_tour_report(report)
    with foreseen():
        store().ping()
    reports = []
    progress = Console(stderr=True)
    for number, one in enumerate(chosen, 1):
        with progress.status(f"{one.name} ({number} of {len(chosen)}): {one.shows}"):
            reports.append(rows.run(one, timed=report is not None))
        if not progress.is_terminal:
            say(f"{one.name} {'ok' if reports[-1].ok else 'FAILED'}")
    if json:
        print_json([report.as_dict() for report in reports])
    else:
        console().print(_tour_table(reports))
    for done in reports:
        if done.problem:
            # The whole of it stands in --json.
            problem = " ".join(done.problem.split())
            say(f"{done.row}: {problem if len(problem) <= 200 else problem[:197] + '...'}")
    laboratory.write_tour_report(reports, report)
    if not all(done.ok for done in reports):
        raise typer.Exit(FAILED)


@app.command(
    short_help="List the tasks that can be sent.",
    epilog="""Examples:

  producer tasks

  producer tasks --json
""",
)
def tasks(json: Json = False) -> None:
    """List the tasks that can be sent: signature, usual pool, one line of help."""
    from producer import known

    found = known.tasks()
    if json:
        print_json(
            [{"name": c.name, "signature": str(c), "pool": c.queue, "help": c.help} for c in found]
        )
        return
    rows = [(str(contract), contract.queue, contract.help) for contract in found]
    console().print(Sheet(("task", "pool", "what it does"), rows, show_lines=True))


@app.command(
    cls=TaskCommand,
    context_settings={"ignore_unknown_options": True},
    epilog="""Examples:

  producer send printcount 3 --wait

  producer send resize photo.jpg --width 200        (a task of your own, with a keyword argument)

  producer send mymodule:function 1 2               (a plain function of a module in TASK_MODULES)

  producer send sleep 0 --count 10000 --pool gevent

  producer send count_steps --kwargs '{"label": "b", "steps": 3}' --countdown 10

  producer send fetch --id report-2026-11-24        (repeated, it is not sent again)

  producer send fail -- -oops        (a word that starts with a minus; options go before)
""",
)
def send(
    context: typer.Context,
    task: Annotated[
        str, typer.Argument(help="A task that `producer tasks` lists, or module:function.")
    ],
    args: Annotated[
        list[str] | None, typer.Argument(help="Its arguments, in order or as --name value.")
    ] = None,
    kwargs: Annotated[str, typer.Option(help="More arguments, as a JSON object.")] = "{}",
    pool: Annotated[
        PoolKind | None, typer.Option(help="Where it runs; by default the task's usual pool.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many times.")] = 1,
    countdown: Annotated[
        float | None, typer.Option(min=0, help="Seconds before it may run.")
    ] = None,
    expires: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which it no longer runs.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds that it may run; then it fails.")
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="KEY",
            help="Sent once under this key, however often it is repeated (for RESULT_EXPIRES_S).",
        ),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the results.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for results, at most.")
    ] = None,
    when_full: Annotated[
        str, typer.Option(help="At QUEUE_LIMIT: wait, or stop.", metavar="wait|stop")
    ] = "wait",
    json: Json = False,
) -> None:
    """Trigger a task, once or many times."""
    from producer import arguments, known, sending

    if when_full not in ("wait", "stop"):
        raise arguments.WrongUsage(f"--when-full {when_full!r} is neither wait nor stop")
    if key and count > 1:
        raise arguments.WrongUsage(
            f"--id {key!r} names one task, and --count {count} asks for more"
        )
    contract, queue = known.find(task, pool)
    positional, keywords = arguments.parse(
        contract,
        args or [],
        kwargs,
        literal=context.meta["literal"],
        options=arguments.options(context),
    )
    order = sending.Order(
        contract=contract,
        args=positional,
        kwargs=keywords,
        queue=queue,
        count=count,
        countdown_s=countdown,
        expires_s=expires,
        time_limit_s=time_limit,
        wait_for_room=when_full == "wait",
        keep_ids=wait,
        key=key,
    )
    before = sending.queued(queue) if wait else 0
    sent = _send_with_progress(order)
    if sending.nobody_listens(queue):
        say(f"no {queue} worker is alive: what was sent waits in its queue")
    if wait:
        if before:
            say(f"{before:,} tasks were queued on {order.queue} before")
        _wait_and_print(order, sent.ids, timeout, json)
    elif json:
        print_json(
            {
                "task": contract.name,
                "pool": order.queue,
                "count": sent.count,
                "repeated": sent.repeated,
                "seconds": round(sent.seconds, 3),
                "ids": sent.ids[: sending.IDS_KEPT],
            }
        )
    elif sent.repeated:
        print(f"{contract.name} was accepted before under this key: {sent.ids[0]}")
    elif sent.count == 1:
        print(f"queued {contract.name} on {order.queue}: {sent.ids[0]}")
    else:
        print(
            f"queued {sent.count:,} {contract.name} on {order.queue} "
            f"in {sent.seconds:.1f} s ({sent.rate:,.0f} a second)"
        )


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
    short_help="Show what became of a task.",
    epilog="""Examples:

  producer result 2f1c0b7e-6f0e-4b8e-9a53-0d1c6c2f1a77

  producer result 2f1c0b7e-6f0e-4b8e-9a53-0d1c6c2f1a77 --json
""",
)
def result(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="What `producer send` printed.")],
    json: Json = False,
) -> None:
    """Show what became of a task; exit 1 when it failed."""
    from producer import outcomes

    outcome = outcomes.look_up(task_id)
    if json:
        print_json(asdict(outcome))
    else:
        tell(outcome)
    if outcome.state in outcomes.FAILURES:
        raise typer.Exit(FAILED)


@app.command(
    short_help="Withdraw a task, or end it.",
    epilog="""Example:

  producer cancel 2f1c0b7e-6f0e-4b8e-9a53-0d1c6c2f1a77
""",
)
def cancel(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="What `producer send` printed.")],
    json: Json = False,
) -> None:
    """Withdraw a task: skip it if it is queued, end it if it runs (not on threads)."""
    from producer import outcomes

    said = outcomes.cancel(task_id)
    if json:
        print_json({"id": task_id, "cancelled": said})
    else:
        tell(said)


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


laboratory.register(app)
watching.register(app)


def _tour_table(reports: list[Any]) -> Any:
    titles = ("row", "what it shows, what to learn from it", "local", "cluster", "pids", "ok")
    rows = [
        (
            report.row,
            "\n".join(filter(None, (report.shows, report.lesson, report.found))),
            f"{report.local_s:.1f} s",
            f"{report.cluster_s:.1f} s",
            report.pids,
            "ok" if report.ok else "FAILED",
        )
        for report in reports
    ]
    return Sheet(titles, rows, right=(2, 3, 4), show_lines=True)


def _send_with_progress(order: Any) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from producer import sending

    class Rate(TextColumn):
        def __init__(self) -> None:
            super().__init__("")

        def render(self, task: Any) -> Any:
            from rich.text import Text

            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or order.count <= sending.BATCH,
    )
    with bar:
        line = bar.add_task(f"queueing {order.contract.name}", total=order.count)
        told = False

        def on_full() -> None:
            nonlocal told
            if not told:
                say(f"queue {order.queue!r} is at its limit (QUEUE_LIMIT); waiting for room")
                told = True

        try:
            return sending.send(order, lambda pushed: bar.advance(line, pushed), on_full)
        except KeyboardInterrupt:
            queued = int(bar.tasks[line].completed)
            say(f"interrupted; {queued:,} of {order.count:,} {order.contract.name} were queued")
            sys.exit(INTERRUPTED)


def _wait_and_print(order: Any, ids: list[str], timeout: float | None, json: bool) -> None:
    from rich.console import Console

    from producer import outcomes, sending

    failed = 0
    try:
        with Console(stderr=True).status(f"waiting for {len(ids):,} results"):
            for task_id, meta in sending.outcomes(ids, timeout):
                outcome = outcomes.from_meta(task_id, meta)
                failed += outcome.state in outcomes.FAILURES
                if json:
                    print_json(asdict(outcome), indent=None)
                elif len(ids) <= 20 or outcome.state in outcomes.FAILURES:
                    tell(outcome)
    except TimeoutError:
        say(
            f"no result within {timeout:g} s; the tasks go on (see producer result, producer status)"
        )
        raise typer.Exit(FAILED) from None
    if len(ids) > 20 and not json:
        print(f"{len(ids) - failed:,} succeeded, {failed:,} failed")
    if failed:
        raise typer.Exit(FAILED)


def _stop(error: object, status: int) -> None:
    if str(error):
        say(str(error))
    sys.exit(status)


if __name__ == "__main__":
    main()

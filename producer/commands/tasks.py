"""``producer tasks``, ``send``, ``result`` and ``cancel``: one task from its name to its outcome."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from producer.arguments import TaskCommand
from producer.commands import FAILED, INTERRUPTED, Json
from producer.printing import Sheet, console, print_json, say, tell
from shared.pools import PoolKind

app = typer.Typer(rich_markup_mode=None)


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
        tell(f"{contract.name} was accepted before under this key: {sent.ids[0]}")
    elif sent.count == 1:
        tell(f"queued {contract.name} on {order.queue}: {sent.ids[0]}")
    else:
        tell(
            f"queued {sent.count:,} {contract.name} on {order.queue} "
            f"in {sent.seconds:.1f} s ({sent.rate:,.0f} a second)"
        )


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
    from shared import publishing

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
        disable=not console.is_terminal or order.count <= publishing.BATCH,
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


def _go_on(ids: list[str]) -> str:
    """Say what happens to sent tasks that nobody waits for any more."""
    if len(ids) == 1:
        return f"{ids[0]} goes on: see producer result, producer cancel"
    return f"{len(ids):,} tasks go on: see producer status"


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
        say(f"no result within {timeout:g} s; {_go_on(ids)}")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        say(f"interrupted; {_go_on(ids)}")
        sys.exit(INTERRUPTED)
    if len(ids) > 20 and not json:
        print(f"{len(ids) - failed:,} succeeded, {failed:,} failed")
    if failed:
        raise typer.Exit(FAILED)

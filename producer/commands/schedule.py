"""``producer schedule``: add a periodic task, list them, remove one."""

from typing import Annotated

import typer

from producer.arguments import TaskCommand
from producer.commands import Json
from shared.pools import PoolKind

app = typer.Typer(
    help="Periodic tasks: the schedule that `beat` sends.",
    short_help="Periodic tasks: add, list, remove.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    cls=TaskCommand,
    context_settings={"ignore_unknown_options": True},
    short_help="Add a periodic task.",
    epilog="""Examples:

  producer schedule add --every 10 tick printcount 3

  producer schedule add --cron '30 2 * * 1-5' nightly resize photo.jpg --width 200

  producer schedule add --every 3600 hourly mymodule:function 1 2
""",
)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The entry's name in the schedule.")],
    task: Annotated[
        str, typer.Argument(help="A task that `producer tasks` lists, or module:function.")
    ],
    args: Annotated[
        list[str] | None, typer.Argument(help="Its arguments, in order or as --name value.")
    ] = None,
    every: Annotated[float | None, typer.Option(help="Seconds between two runs.")] = None,
    cron: Annotated[
        str,
        typer.Option(help="A crontab in UTC: minute, hour, day of month, month, day of week."),
    ] = "",
    kwargs: Annotated[str, typer.Option(help="More arguments, as a JSON object.")] = "{}",
    pool: Annotated[
        PoolKind | None, typer.Option(help="Where it runs; by default the task's usual pool.")
    ] = None,
    json: Json = False,
) -> None:
    """Add a task to the schedule, under a name; --every or --cron says when it runs."""
    from dataclasses import asdict

    from producer import arguments, known, schedules
    from producer.printing import print_json, say, tell

    if (every is None) == (not cron):
        raise arguments.WrongUsage("one of --every SECONDS and --cron 'CRONTAB' says when it runs")
    when = schedules.cron(cron) if cron else schedules.every(every or 0)
    contract, queue = known.find(task, pool)
    positional, keywords = arguments.parse(
        contract,
        args or [],
        kwargs,
        literal=context.meta["literal"],
        options=arguments.options(context),
    )
    row = schedules.add(name, when, contract, queue, positional, keywords)
    if json:
        print_json(asdict(row))
    else:
        tell(f"{row.name}: {row.task} on {row.queue}, {row.when}; next at {row.next_run} UTC")
    if not schedules.scheduler_is_alive():
        say(
            "no scheduler is alive; start one: "
            "docker compose --profile beat up --detach, or producer stack --beat"
        )


@app.command(
    "list",
    short_help="List the schedule.",
    epilog="""Examples:

  producer schedule list

  producer schedule list --json | jq -r '.[].next_run'
""",
)
def show_all(json: Json = False) -> None:
    """List the schedule: name, task, when, the last and the next run in UTC."""
    from producer import schedules
    from producer.printing import Sheet, console, print_json, say

    found = schedules.rows()
    if json:
        print_json(schedules.as_dicts(found))
    elif found:
        rows = [
            (
                row.name,
                f"{row.task} {row.arguments}".strip(),
                row.when,
                row.queue,
                row.last_run or "never",
                row.next_run or "never",
            )
            for row in found
        ]
        heads = ("name", "task", "when", "queue", "last run (UTC)", "next run (UTC)")
        console().print(Sheet(heads, rows))
    else:
        say("the schedule is empty")


@app.command(
    short_help="Remove an entry.",
    epilog="""Example:

  producer schedule remove nightly
""",
)
def remove(
    name: Annotated[str, typer.Argument(help="As `list` shows it.")], json: Json = False
) -> None:
    """Remove an entry from the schedule; what it has sent stays in its queue."""
    from producer import schedules
    from producer.printing import print_json, tell

    schedules.remove(name)
    if json:
        print_json({"removed": name})
    else:
        tell(f"removed {name}")

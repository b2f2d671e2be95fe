"""``producer dead``: look at dead letters, put them back on their queues, or drop them."""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from producer.commands import Json

# A cell of the table holds so many characters at most.
_CELL = 200

app = typer.Typer(
    help="Dead letters: tasks that no worker will run again.",
    short_help="Dead letters: list, show, retry, drop.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command(
    "list",
    short_help="List them, the oldest first.",
    epilog="""Examples:

  producer dead list

  producer dead list --json | jq -r '.[] | select(.task == "fetch") | .id'
""",
)
def show_all(
    limit: Annotated[int, typer.Option(min=1, help="Not more than these.")] = 100,
    json: Json = False,
) -> None:
    """List dead letters, the oldest first: id, when, task, queue and reason."""
    from itertools import islice

    from producer.printing import console, print_json, say
    from shared.broker import deadletters

    found = list(islice(deadletters.letters(), limit))
    if json:
        print_json([_brief(letter) for letter in found])
        return
    if found:
        console().print(_table(found))
    if (total := deadletters.count()) > len(found):
        say(f"there are {total:,}; --limit shows more")
    elif not found:
        say("there are no dead letters")


@app.command(
    short_help="Show one: reason, history, traceback.",
    epilog="""Example:

  producer dead show 2f1c0b7e-6f0e-4b8e-9a53-0d1c6c2f1a77
""",
)
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    json: Json = False,
) -> None:
    """Show one dead letter: its reason, the workers it lost, its arguments and traceback."""
    from producer.printing import print_json, tell
    from shared.broker import deadletters

    letter = deadletters.show(letter_id)
    if json:
        print_json({key: letter[key] for key in letter if key != "list"})
        return
    for name in ("id", "task", "args", "kwargs", "queue", "reason", "worker"):
        tell(f"{name:8} {letter[name]}")
    tell(f"{'died':8} {_time(letter['died'])}")
    for loss in letter["deliveries"]:
        tell(f"{'lost':8} {loss['worker']} at {_time(loss['at'])}")
    if letter["traceback"]:
        tell(f"\n{letter['traceback'].rstrip()}")


@app.command(
    short_help="Put some back on their queues.",
    epilog="""Examples:

  producer dead retry 2f1c0b7e-6f0e-4b8e-9a53-0d1c6c2f1a77

  producer dead retry --all
""",
)
def retry(ids: Ids = None, everything: All = False, json: Json = False) -> None:
    """Put dead letters back on their queues, as if they had just been sent."""
    from producer.printing import print_json
    from shared.broker import deadletters

    chosen = list(_chosen(ids, everything))
    done = [{"id": one, "queue": queue} for one, queue in _each(chosen, deadletters.retry)]
    if json:
        print_json(done)
    elif done or not chosen:
        print(f"put {len(done):,} back on their queues" if done else "there are no dead letters")
    if len(done) < len(chosen):
        raise typer.Exit(1)


@app.command(
    short_help="Forget some for good.",
    epilog="""Examples:

  producer dead drop 2f1c0b7e-6f0e-4b8e-9a53-0d1c6c2f1a77

  producer dead drop --all --yes
""",
)
def drop(
    ids: Ids = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Forget dead letters for good: they will never run."""
    from producer.arguments import WrongUsage
    from producer.printing import print_json
    from shared.broker import deadletters

    if everything and not yes:
        if not sys.stdin.isatty():
            raise WrongUsage("drop --all forgets every dead letter for good; say --yes, too")
        typer.confirm(f"Forget {deadletters.count():,} dead letters for good?", abort=True)

    chosen = list(_chosen(ids, everything))
    dropped = [one for one, _ in _each(chosen, deadletters.drop)]
    if json:
        print_json(dropped)
    elif dropped or not chosen:
        print(f"dropped {len(dropped):,}" if dropped else "there are no dead letters")
    if len(dropped) < len(chosen):
        raise typer.Exit(1)


def _each(ids: list[str], do: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """Each id that `do` could do, with what it gave; for each other one a line says why."""
    from producer.printing import say
    from shared.broker import deadletters
    from shared.errors import BrokerRefused

    for one in ids:
        try:
            done = do(one)
        except (deadletters.NoSuchLetter, deadletters.NotWhole, BrokerRefused) as error:
            say(str(error))
        else:
            yield one, done


def _table(letters: list[dict[str, Any]]) -> Any:
    from producer.printing import Sheet

    rows = [
        (
            f"{letter['id']}\n{_time(letter['died'])}",
            str(letter["task"])[:_CELL],
            letter["queue"][:_CELL],
            " ".join(letter["reason"].split())[:_CELL],
        )
        for letter in letters
    ]
    # The id whole, also on 80 columns: `show` wants it so.
    return Sheet(("id, died", "task", "queue", "reason"), rows, whole=[0], show_lines=True)


def _chosen(ids: list[str] | None, everything: bool) -> Iterable[str]:
    from producer.arguments import WrongUsage
    from shared.broker import deadletters

    if bool(ids) == everything:
        raise WrongUsage("name dead letters by their ids, or say --all")
    return ids or [letter["id"] for letter in deadletters.letters()]


def _brief(letter: dict[str, Any]) -> dict[str, Any]:
    return {key: letter[key] for key in ("id", "task", "queue", "reason", "died", "worker")}


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "at an unknown time"
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")

"""The schedule of periodic tasks: add an entry, list them, remove one."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from celery.schedules import ParseException, crontab, schedule

from producer.arguments import WrongUsage, nearest
from shared.app import app
from shared.broker import keys
from shared.broker.connections import Lua, foreseen, store
from shared.errors import DaySixError
from shared.tasks import contracts
from shared.tasks.contracts import Contract

LONGEST_S = 366 * 86_400.0
_NAME = re.compile(r"\w[\w .@/-]{0,99}")

# KEYS: the entry's hash, the schedule. ARGV: definition, meta, when it is due.
_ADD = Lua("""
if redis.call('hsetnx', KEYS[1], 'definition', ARGV[1]) == 0 then return 0 end
redis.call('hset', KEYS[1], 'meta', ARGV[2])
redis.call('zadd', KEYS[2], ARGV[3], KEYS[1])
return 1
""")


class NotInSchedule(DaySixError):
    """Raised for a name that the schedule has not, or has already."""


@dataclass(frozen=True)
class Row:
    """An entry of the schedule, as people read it; times are UTC."""

    name: str
    task: str
    arguments: str
    when: str
    queue: str
    last_run: str | None
    next_run: str | None
    runs: int


def every(seconds: float) -> Any:
    """An interval."""
    if not 1 <= seconds <= LONGEST_S:
        raise WrongUsage(f"--every {seconds:g} is not between 1 and {LONGEST_S:.0f} seconds")
    return schedule(seconds)


def cron(text: str) -> Any:
    """A crontab's five fields: minute, hour, day of month, month, day of week; in UTC."""
    fields = text.split()
    if len(fields) != 5:
        raise WrongUsage(
            f"--cron {text!r} has {len(fields)} fields, not the five of a crontab: "
            "minute, hour, day of month, month, day of week"
        )
    minute, hour, day_of_month, month_of_year, day_of_week = fields
    try:
        found = crontab(
            minute=minute,
            hour=hour,
            day_of_month=day_of_month,
            month_of_year=month_of_year,
            day_of_week=day_of_week,
        )
        found.remaining_estimate(datetime.now(UTC))
    except (ParseException, ValueError) as error:
        raise WrongUsage(f"--cron {text!r} is no crontab: {error}") from None
    except RuntimeError:
        raise WrongUsage(f"--cron {text!r} is a day that never comes") from None
    return found


def add(
    name: str, when: Any, contract: Contract, queue: str, args: list[Any], kwargs: dict[str, Any]
) -> Row:
    """Add an entry; it is due for the first time when the schedule says so, not at once."""
    from redbeat.decoder import RedBeatJSONEncoder

    if not _NAME.fullmatch(name):
        raise WrongUsage(
            f"{name!r} cannot be a name: letters, digits, spaces and _ . @ / - may stand in one"
        )
    task, options = contract.name, {"queue": queue}
    if ":" in task:
        args, kwargs = [task, args, kwargs], {}
        task, options = contracts.FUNCTION, {**options, "shadow": task}
    now = datetime.now(UTC)
    definition = {
        "name": name,
        "task": task,
        "args": args,
        "kwargs": kwargs,
        "options": options,
        "schedule": when,
        "enabled": True,
    }
    meta = {"last_run_at": now}
    due = math.ceil((now + when.remaining_estimate(now)).timestamp())
    try:
        texts = [json.dumps(part, cls=RedBeatJSONEncoder) for part in (definition, meta)]
    except (TypeError, ValueError) as error:
        raise WrongUsage(f"an argument cannot be kept in the schedule: {error}") from None
    key = keys.SCHEDULE_ENTRY + name
    with foreseen():
        if not _ADD.call(store(), 2, key, keys.SCHEDULE, *texts, due):
            raise NotInSchedule(
                f"{name!r} is in the schedule already; remove it first: "
                f"producer schedule remove {name!r}"
            )
    return _row(texts[0], texts[1], due)


def remove(name: str) -> None:
    """Remove an entry; what it has sent stays in its queue."""
    key = keys.SCHEDULE_ENTRY + name
    with foreseen():
        # The schedule itself is a key of this kind, and no member of the schedule.
        if not store().zrem(keys.SCHEDULE, key):
            raise NotInSchedule(
                f"the schedule has no {name!r}{nearest(name, [row.name for row in rows()])}"
            )
        store().delete(key)


def rows() -> list[Row]:
    """The schedule, what is due next first; an odd entry is shown by its name alone."""
    with foreseen():
        due: Any = store().zrange(keys.SCHEDULE, 0, -1, withscores=True)
        pipe = store().pipeline(transaction=False)
        for key, _ in due:
            pipe.hmget(key, "definition", "meta")
        found = pipe.execute(raise_on_error=False)
    return list(_rows(due, found))


def scheduler_is_alive() -> bool:
    """Whether a scheduler has looked at the schedule within some seconds."""
    with foreseen():
        return bool(store().exists(keys.SCHEDULER_ALIVE))


def _rows(due: Any, found: list[Any]) -> Iterator[Row]:
    for (key, at), texts in zip(due, found, strict=True):
        try:
            yield _row(texts[0], texts[1], at)
        except Exception:
            # Not one that was added here, or of another version.
            name = key.decode(errors="replace").removeprefix(keys.SCHEDULE_ENTRY)
            yield Row(name, "?", "", "cannot be read", "", None, None, 0)


def _row(definition_text: Any, meta_text: Any, due: float) -> Row:
    from redbeat.decoder import RedBeatJSONDecoder

    definition = json.loads(definition_text, cls=RedBeatJSONDecoder)
    meta = json.loads(meta_text or "{}", cls=RedBeatJSONDecoder)
    runs = int(meta.get("total_run_count") or 0)
    args, kwargs = list(definition["args"] or []), dict(definition["kwargs"] or {})
    task = str(definition["task"])
    if task == contracts.FUNCTION:
        task, args, kwargs = str(args[0]), list(args[1]), dict(args[2])
    words = [*map(json.dumps, args), *(f"{key}={json.dumps(kwargs[key])}" for key in kwargs)]
    return Row(
        name=str(definition["name"]),
        task=task,
        arguments=" ".join(words),
        when=_when_text(definition["schedule"]),
        queue=str((definition.get("options") or {}).get("queue") or app.conf.task_default_queue),
        last_run=_time_text(meta["last_run_at"]) if runs else None,
        next_run=_time_text(datetime.fromtimestamp(due, UTC)) if due >= 0 else None,
        runs=runs,
    )


def _when_text(when: Any) -> str:
    if isinstance(when, crontab):
        return (
            f"{when._orig_minute} {when._orig_hour} {when._orig_day_of_month} "
            f"{when._orig_month_of_year} {when._orig_day_of_week}"
        )
    return f"every {when.run_every.total_seconds():g} s"


def _time_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def as_dicts(found: list[Row]) -> list[dict[str, Any]]:
    """The schedule, for scripts."""
    return [asdict(row) for row in found]

"""The scheduler: ``celery -A worker beat`` sends the due entries of the schedule in Redis.

RedBeat keeps the schedule. One script in Redis sends an entry and records the time in one step.
So several schedulers send each entry once, and a killed scheduler loses and repeats none. No
lock has to expire before another scheduler continues.
"""

import json
from pathlib import Path
from typing import Any

import redis
from celery.utils.log import get_logger
from redbeat import schedulers
from redbeat.decoder import RedBeatJSONEncoder

from shared import publishing
from shared.app import app
from shared.broker import keys
from shared.broker.connections import Lua, connect
from shared.broker.keys import new_id
from shared.pools import DEFAULT_QUEUE
from shared.settings import current

logger = get_logger(__name__)

# A scheduler that has not renewed its key for this time counts as dead.
ALIVE_S = 15
PAUSE_S = 1.0

# KEYS: the entry's hash, the schedule, the queue. ARGV: the `meta` that the scheduler
# has read, the new `meta`, the time when the entry is due next, the message.
_SEND = Lua("""
local meta = redis.call('hget', KEYS[1], 'meta')
if not meta or meta ~= ARGV[1] then return 0 end
redis.call('hset', KEYS[1], 'meta', ARGV[2])
redis.call('zadd', KEYS[2], ARGV[3], KEYS[1])
redis.call('lpush', KEYS[3], ARGV[4])
return 1
""")


class Entry(schedulers.RedBeatSchedulerEntry):
    """RedBeat's entry, sent and recorded in one step."""

    meta = ""  # as read from Redis

    @classmethod
    def from_key(cls, key: str, app: Any = None) -> Any:
        """Return an entry. Raises KeyError if the entry is gone or invalid."""
        definition, meta = schedulers.get_redis(app).hmget(key, "definition", "meta")
        try:
            entry = cls(app=app, **cls.decode_definition(definition))
            run = cls.decode_meta(meta)
            entry.last_run_at = run["last_run_at"]
            entry.total_run_count = run.get("total_run_count", 0)
        except Exception as error:
            raise KeyError(key) from error
        entry.meta = meta
        return entry

    def send(self) -> bool:
        """Send the task, unless another scheduler has sent it or the entry was removed."""
        options = dict(self.options or {})
        queue = options.pop("queue", None) or DEFAULT_QUEUE
        template = publishing.Template(self.task, queue, **options)
        task_id = new_id()
        message = template.render(task_id, self.args or [], self.kwargs or {})
        # Do not call `next`: RedBeat's version writes to Redis.
        self.last_run_at = self._default_now()
        meta = {"last_run_at": self.last_run_at, "total_run_count": self.total_run_count + 1}
        sent = _SEND.call(
            schedulers.get_redis(self.app),
            *(3, self.key, self.app.redbeat_conf.schedule_key, queue),
            *(self.meta, json.dumps(meta, cls=RedBeatJSONEncoder), self.score, message),
        )
        if sent:
            logger.info("%s: sent %s[%s] to %s", self.name, self.task, task_id, queue)
        return bool(sent)


class Scheduler(schedulers.RedBeatScheduler):
    """RedBeat's scheduler. Any number of schedulers may run at once."""

    Entry = Entry
    _maybe_due_kwargs: dict[str, Any] = {}  # noqa: RUF012 - no connection of kombu's

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        app.redbeat_redis = connect(current(), decode_responses=True)
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Do nothing: all entries are in Redis already."""

    def maybe_due(self, entry: Any, **_: Any) -> float | None:
        """Send an entry if it is due. Returns the seconds until it is due again."""
        try:
            is_due, next_s = entry.is_due()
            if is_due:
                entry.send()
        except redis.RedisError:
            raise
        except Exception:
            # An error of one entry does not stop the others.
            logger.exception("%s was not sent", entry.name)
            return None
        return float(next_s)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send the due entries. Returns the seconds until the next check."""
        try:
            wait_s = super().tick(*args, **kwargs)
            schedulers.get_redis(self.app).set(keys.SCHEDULER_ALIVE, "1", ex=ALIVE_S)
        except redis.RedisError as error:
            logger.warning("the scheduler waits for Redis: %s", error)
            return PAUSE_S
        if current().health_file is not None:
            Path(str(current().health_file)).touch()
        return float(wait_s)

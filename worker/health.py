"""A file that stays young while a worker consumes and Redis answers it.

A health check looks at the file's age: no interpreter to start, no message to send.
"""

from pathlib import Path
from typing import Any

import redis
from celery import bootsteps
from celery.utils.log import get_logger

from shared.broker import renewing
from shared.broker.connections import connect
from shared.settings import current

logger = get_logger(__name__)

# The loop waits for this answer, and for nothing else meanwhile.
ANSWER_WITHIN_S = 2.0


class HealthFile(bootsteps.StartStopStep):
    """Touches ``HEALTH_FILE`` from inside the consumer's own loop.

    A timer alone would go on while the loop is stuck (gevent's is a greenlet of its own), so
    it only asks the loop to do the touching; and the touching first asks Redis, so that a
    worker cut off from its broker grows stale as well.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        settings = current()
        self.path = settings.health_file
        self.interval_s = settings.health_interval_s
        # A connection of its own. The consumer's is in the middle of a BRPOP, which would take
        # the PONG for a message.
        self.client = connect(settings, answer_within_s=ANSWER_WITHIN_S)
        self.timer_entry: Any = None

    def include_if(self, parent: Any) -> bool:
        return current().health_file is not None

    def start(self, parent: Any) -> None:
        self.timer_entry = parent.timer.call_repeatedly(
            self.interval_s, parent.call_soon, (self.touch,), priority=10
        )
        parent.call_soon(self.touch)
        # While a task holds the GIL, the loop has no turn; a worker that is busy is healthy.
        renewing.health.every(self.interval_s, "PING")
        renewing.health.keep(str(Path(self.path or "").absolute()))

    def stop(self, parent: Any) -> None:
        renewing.health.drop(str(Path(self.path or "").absolute()))
        if self.timer_entry is not None:
            self.timer_entry.cancel()
            self.timer_entry = None

    def touch(self) -> None:
        """Touch the file if Redis answers."""
        if self.path is None:
            return
        try:
            self.client.ping()
            self.path.touch()
        except (redis.RedisError, OSError) as error:
            # The consumer notices and reconnects by itself; the file just grows old.
            logger.warning("health file not touched: %s", error)

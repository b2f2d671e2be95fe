"""Touches a file regularly while the worker consumes and Redis answers.

A health check reads the file's age. It starts no interpreter and sends no message.
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

# The consumer's loop waits for this answer, so the time is short.
ANSWER_WITHIN_S = 2.0


class HealthFile(bootsteps.StartStopStep):
    """Touches ``HEALTH_FILE`` from inside the consumer's own loop.

    A timer would go on while the loop is stuck: under gevent it is a greenlet of its own. So the
    timer only asks the loop to touch the file. The loop first asks Redis, so that the file of a
    worker without its broker also grows old.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        settings = current()
        self.path = settings.health_file
        self.interval_s = settings.health_interval_s
        # Use a separate connection. The consumer's connection waits for messages, and would take
        # the PONG for one.
        self.client = connect(settings, answer_within_s=ANSWER_WITHIN_S)
        self.timer_entry: Any = None

    def include_if(self, parent: Any) -> bool:
        return current().health_file is not None

    def start(self, parent: Any) -> None:
        self.timer_entry = parent.timer.call_repeatedly(
            self.interval_s, parent.call_soon, (self.touch,), priority=10
        )
        parent.call_soon(self.touch)
        # While a task holds the GIL, the loop cannot run. A busy worker is healthy, so the renewer
        # touches the file.
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
            # The consumer notices the error and reconnects by itself. The file grows old.
            logger.warning("health file not touched: %s", error)

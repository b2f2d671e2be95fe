"""Remote control that survives a lost broker under gevent, and a read-only mailbox for Flower."""

import contextlib
import time
import uuid
from typing import Any

import kombu
import redis
from celery.utils.log import get_logger
from celery.worker import control as commands
from celery.worker.consumer import control
from celery.worker.pidbox import gPidbox
from kombu import pidbox
from kombu.exceptions import KombuError

from shared.broker import inspection

logger = get_logger(__name__)

PAUSE_S = 1.0

_set_time_limit = commands.time_limit


class GreenPidbox(gPidbox):
    """Celery's mailbox in a greenlet that restarts after an error and occupies no pool slot."""

    def start(self, c: Any) -> None:
        import gevent  # noqa: PLC0415 - only a gevent worker pays for it

        gevent.spawn(self.loop, c)

    def loop(self, c: Any) -> None:
        """Listen until the worker stops the mailbox."""
        while True:
            try:
                super().loop(c)
                return
            except c.connection_errors as error:
                logger.warning("remote control restarts after an error: %s", error)
            ended = self._node_stopped
            time.sleep(PAUSE_S)
            # Return if the worker has stopped this loop. The worker may have started another.
            if ended is None or self._node_stopped is not ended:
                return


class Node(pidbox.Node):
    """Listens to Celery's mailbox, and to the read-only mailbox."""

    def listen(self, channel: Any = None, callback: Any = None) -> Any:
        """Consume from both mailboxes. Returns the consumer of Celery's mailbox."""
        consumer = super().listen(channel, callback)
        asked = kombu.Consumer(
            channel or self.channel,
            [_LOOKING.get_queue(self.hostname)],
            callbacks=[self._answer],
            no_ack=True,
            accept=["json"],
            on_decode_error=self.on_decode_error,
        )
        asked.consume()
        return consumer

    def _answer(self, body: Any, message: Any) -> None:
        # Flower may send anything, so any other error is an error of the message.
        try:
            asked = _asked(body, self.hostname)
            if asked is not None:
                method, ticket, reply_list = asked
                # Ignore the sender's arguments: some of them name attributes to read, or patterns.
                reply = self.handle(method, {"safe": True} if method == "active" else {})
                self._send(reply_list, {self.hostname: reply}, ticket)
        except (redis.RedisError, OSError, KombuError):
            raise
        except Exception as error:
            logger.warning("could not answer a request from Flower: %r", error)

    def _send(self, reply_list: str, reply: Any, ticket: str) -> None:
        # Publish to the list by its name. A table of bindings could name other lists too.
        headers = {"ticket": ticket, "clock": self.mailbox.clock.forward()}
        with self.mailbox.producer_or_acquire(None, self.channel) as producer:
            producer.publish(reply, exchange="", routing_key=reply_list, headers=headers)
        with self.channel.conn_or_acquire() as client:
            client.expire(reply_list, inspection.ANSWER_KEPT_S)


_LOOKING = pidbox.Mailbox(inspection.NAMESPACE, type="fanout")


def _asked(body: Any, hostname: str) -> tuple[str, str, str] | None:
    """Return the method, ticket and reply list of a request; None for a request to ignore."""
    method, destination, ticket = (body.get(key) for key in ("method", "destination", "ticket"))
    if method not in inspection.METHODS:
        return None
    if destination is not None and not (isinstance(destination, list) and hostname in destination):
        return None
    with contextlib.suppress(ValueError, TypeError, KeyError):
        asker = str(uuid.UUID(body["reply_to"]["routing_key"]))
        return method, str(uuid.UUID(ticket)), f"{asker}.{inspection.REPLIES}"
    return None


class Control(control.Control):
    """Starts both mailboxes with the worker. Under gevent, they run in a greenlet of their own."""

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        if self.is_green:
            self.box = GreenPidbox(c)
            self.start, self.stop, self.shutdown = self.box.start, self.box.stop, self.box.shutdown
        celerys = self.box.node
        self.box.node = Node(
            celerys.hostname, celerys.state, handlers=celerys.handlers, mailbox=celerys.mailbox
        )


@commands.control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
)
def time_limit(
    state: Any, task_name: str, hard: float | None = None, soft: float | None = None, **_: Any
) -> Any:
    """Tell worker(s) to modify the time limits for a task by type."""
    answer = _set_time_limit(state, task_name=task_name, hard=hard, soft=soft)
    # Celery changes the task only. The task's strategy still has the limits from worker start.
    state.consumer.update_strategies()
    return answer

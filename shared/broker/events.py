"""Events of tasks, sent only while somebody listens.

An event is a PUBLISH, which answers how many have received it. When nobody has received the
last one, a worker makes no event of a task, but for one every two seconds to ask again; its
heartbeats ask too. So Flower sees the tasks from two seconds after its own start, and without
it they cost nothing.
"""

import time
from typing import Any

from celery.app import events
from celery.events import dispatcher

ASK_AGAIN_S = 2.0


class Dispatcher(dispatcher.EventDispatcher):
    """Celery's event dispatcher, without the events of tasks that have no listener."""

    def send(self, type: str, *args: Any, **fields: Any) -> Any:
        """Send an event, or not."""
        if type.startswith("task-") and not listeners.may_be_there():
            return None
        return super().send(type, *args, **fields)


class Events(events.Events):
    """``Celery(events="shared.broker.events:Events")``."""

    dispatcher_cls = f"{__name__}:{Dispatcher.__name__}"


class Listeners:
    """Whether the last event of this process was received by anybody."""

    def __init__(self) -> None:
        self._were_there = True
        self._noted_at = 0.0

    def note(self, received_by: int) -> None:
        """After an event was sent."""
        self._were_there = received_by > 0
        self._noted_at = time.monotonic()

    def may_be_there(self) -> bool:
        """Whether an event is worth sending."""
        return self._were_there or time.monotonic() - self._noted_at > ASK_AGAIN_S


listeners = Listeners()

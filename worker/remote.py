"""Remote control of a gevent worker that survives a lost broker."""

import time
from typing import Any

from celery.utils.log import get_logger
from celery.worker.consumer import control
from celery.worker.pidbox import gPidbox

logger = get_logger(__name__)

PAUSE_S = 1.0


class GreenPidbox(gPidbox):
    """Celery's, whose greenlet begins again after an error, and takes no place in the pool."""

    def start(self, c: Any) -> None:
        import gevent  # noqa: PLC0415 - only a gevent worker pays for it

        gevent.spawn(self.loop, c)

    def loop(self, c: Any) -> None:
        """Listen until told to stop."""
        while True:
            try:
                super().loop(c)
                return
            except c.connection_errors as error:
                logger.warning("remote control begins again: %s", error)
            ended = self._node_stopped
            time.sleep(PAUSE_S)
            # Told to stop meanwhile, and perhaps started anew.
            if ended is None or self._node_stopped is not ended:
                return


class Control(control.Control):
    """Celery's, with that greenlet in a gevent worker."""

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        if self.is_green:
            self.box = GreenPidbox(c)
            self.start, self.stop, self.shutdown = self.box.start, self.box.stop, self.box.shutdown

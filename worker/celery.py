"""Celery's entry point: ``celery -A worker worker --pool gevent --queues gevent``."""

import gc
import os
from typing import Any

from celery import concurrency, signals

from shared.app import app
from shared.errors import SettingsError
from shared.pools import PoolKind
from shared.settings import current
from shared.store import connections
from worker import deadlines, requests
from worker.health import HealthFile
from worker.heartbeat import Presence, pool_kind

try:
    current()
except SettingsError as error:
    raise SystemExit(f"worker: {error}") from None

app.conf.imports = ("shared.calls", "worker.tasks")
app.Task.Request = f"{requests.__name__}:{requests.Request.__name__}"
app.conf.worker_consumer = f"{requests.__name__}:{requests.Consumer.__name__}"
# A worker keeps an outcome until Redis is back, however long; a client gives up.
app.conf.result_backend_max_retries = float("inf")
app.conf.result_backend_max_sleep_between_retries_ms = 2000
app.loader.override_backends = dict.fromkeys(
    ("redis", "rediss"), f"{deadlines.__name__}:{deadlines.Backend.__name__}"
)
app.steps["consumer"].update((HealthFile, Presence))
# What ``--pool`` with their names means; each loads only its own.
app.conf.worker_pool = "worker.prefork:TaskPool"
concurrency.ALIASES[PoolKind.THREADS] = "worker.threads:TaskPool"
concurrency.ALIASES[PoolKind.GEVENT] = "worker.gevent_pool:TaskPool"


@signals.celeryd_init.connect(weak=False)
def size_pool(conf: Any, options: dict[str, Any], **_: Any) -> None:
    """Give a worker without ``--concurrency`` the size that the settings name for its pool, and
    any worker connections enough for its size.
    """
    kind = pool_kind(options.get("pool"))
    size = options.get("concurrency") or current().concurrency(kind)
    conf.worker_concurrency = size
    # Each of them may store its outcome at once.
    room = max(conf.redis_max_connections, connections(size))
    conf.redis_max_connections = room
    conf.broker_transport_options = {**conf.broker_transport_options, "max_connections": room}
    if kind is PoolKind.GEVENT:
        _spare_greenlets(size)


# Objects that a task under way holds, amply.
OBJECTS_OF_A_TASK = 100


def _spare_greenlets(count: int) -> None:
    """Do less often what would be done beside each task, for so many of them at once."""
    from gevent import config  # noqa: PLC0415 - only a gevent worker has it loaded

    # Python looks for garbage after 700 or 2,000 new objects, and finds tasks under way.
    gc.set_threshold(max(gc.get_threshold()[0], count * OBJECTS_OF_A_TASK))
    # gevent notes which lines of code started a greenlet; only its debugging looks at those.
    if "GEVENT_TRACK_GREENLET_TREE" not in os.environ:
        config.track_greenlet_tree = False

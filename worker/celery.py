"""Celery's entry point: ``celery -A worker worker --pool gevent --queues gevent``."""

from typing import Any

import redis
from celery import signals
from celery.utils.log import get_logger

from shared.app import app
from shared.broker.connections import eviction, store
from shared.errors import SettingsError
from shared.pools import PoolKind
from shared.settings import current
from worker import deadlines, registration, requests
from worker.health import HealthFile
from worker.heartbeat import Presence, pool_kind
from worker.options import POOLS, check, offer_pools

logger = get_logger(__name__)

try:
    current()
except SettingsError as error:
    raise SystemExit(f"worker: {error}") from None

app.conf.imports = ("shared.calls.running", "worker.functions")
app.Task.Request = f"{requests.__name__}:{requests.Request.__name__}"
app.conf.worker_consumer = f"{requests.__name__}:{requests.Consumer.__name__}"
# A task's follow-ups are retried for at least ten minutes while Redis is unavailable. A client's
# own calls fail sooner. There must be an end, because Celery keeps a chord's claim for as long as
# all retries may take.
app.conf.task_publish_retry_policy = {"max_retries": 600, "interval_step": 0.2, "interval_max": 1}
app.loader.override_backends = dict.fromkeys(
    ("redis", "rediss"), f"{deadlines.__name__}:{deadlines.Backend.__name__}"
)
app.steps["consumer"].update((HealthFile, registration.Catalogue, Presence))
app.conf.worker_pool = POOLS[PoolKind.PREFORK]
offer_pools()


@signals.celeryd_init.connect(weak=False)
def size_pool(conf: Any, options: dict[str, Any], **_: Any) -> None:
    """Give a worker without ``--concurrency`` the size from the settings."""
    check(conf, options)
    size = options.get("concurrency") or current().concurrency(pool_kind(options.get("pool")))
    conf.worker_concurrency = size


@signals.worker_ready.connect(weak=False)
def warn_of_eviction(**_: Any) -> None:
    """Log one warning if Redis may evict messages."""
    try:
        line = eviction(current(), store())
    except redis.RedisError as error:
        logger.debug("Redis does not say whether it evicts keys: %s", error)
    else:
        if line:
            logger.warning(line)

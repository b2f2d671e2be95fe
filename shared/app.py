"""The Celery application: queues, routing, delivery guarantees.

Importing this module only defines; the environment is read when the configuration is first
looked at, and nothing connects until asked.
"""

import time
from typing import Any

import kombu
from celery import Celery
from celery.app.amqp import AMQP
from kombu import Queue
from kombu.connection import ConnectionPool, PooledConnection
from kombu.utils.url import parse_url

from shared.broker import keys
from shared.broker.connections import MAX_CONNECTIONS, Absence, keepalive
from shared.broker.messages import SENT_AT
from shared.broker.transport import Transport
from shared.errors import DaySixError
from shared.pools import DEFAULT_QUEUE, PoolKind
from shared.settings import current
from shared.tasks import CONTRACTS

# Our own keys have none, and the library writes to queues by their plain names.
NO_PREFIX = (
    "global_keyprefix is not supported; give each installation a database of its own: "
    "REDIS_URL=redis://host:6379/1"
)


class _Ours:
    """The options of a connection that uses our transport."""

    transport_cls: Any
    transport_options: Any

    def get_transport_cls(self) -> Any:
        """The class of the transport."""
        if self.transport_cls in ("redis", "rediss"):
            if self.transport_options.get("global_keyprefix"):
                raise DaySixError(f"broker_transport_options: {NO_PREFIX}")
            return Transport
        return super().get_transport_cls()  # type: ignore[misc]

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Look for a broker that is gone every two seconds; kombu's steps go up to thirty."""
        pauses = {"interval_start": 0.2, "interval_step": 0.4, "interval_max": 2.0}
        return super().ensure_connection(*args, **{**pauses, **kwargs})  # type: ignore[misc]


class _PooledConnection(_Ours, PooledConnection):
    """One of those that producers share."""


class _ConnectionPool(ConnectionPool):
    def new(self) -> Any:
        return _PooledConnection(self, **dict(self.connection._info(resolve=False)))  # noqa: SLF001 - kombu's own way


class Connection(_Ours, kombu.Connection):
    """A connection to Redis whose messages are taken by our transport.

    The transport stands behind the schemes ``redis`` and ``rediss``, in this class alone: tools
    that read the scheme see Redis, and other applications of the process get kombu's transport.
    """

    def Pool(self, limit: int | None = None, **kwargs: Any) -> Any:  # noqa: N802 - kombu's name
        """A pool of connections like this one."""
        return _ConnectionPool(self, limit, **kwargs)

    def ensure(self, obj: Any, fun: Any, errback: Any = None, **policy: Any) -> Any:
        """Retry as kombu does, with a pause if Redis can be reached and answers "not now"."""
        absence = Absence("a message")

        def wait(error: Exception, interval_s: float) -> None:
            if errback:
                errback(error, interval_s)
            if not interval_s:  # otherwise kombu waits so long for a connection
                absence.wait(error)

        return super().ensure(obj, fun, wait, **policy)


class Messages(AMQP):
    """Celery's messages, over our connections, with the time of sending."""

    Connection = Connection

    def as_task_v2(self, *args: Any, **kwargs: Any) -> Any:
        """Build a message as Celery does, with one more header."""
        message = super().as_task_v2(*args, **kwargs)
        message.headers[SENT_AT] = time.time()
        return message


app = Celery(
    "day-six",
    set_as_current=True,
    amqp=f"{__name__}:{Messages.__name__}",
    task_cls="shared.publishing:Task",
    events="shared.broker.events:Events",
)


def configuration() -> dict[str, Any]:
    """Celery's settings, made from ours."""
    settings = current()
    timeouts = {
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": min(settings.redis_timeout_s, 2.0),
        "socket_keepalive": True,
    }
    # Flower finds the URL's options for TLS (ssl_ca_certs …) nowhere else.
    options = parse_url(settings.broker_url)
    is_tls = options["transport"] == "rediss"
    tls = {"ssl_cert_reqs": "required", **options.get("ssl", {})} if is_tls else None
    return {
        "broker_use_ssl": tls,
        "redis_backend_use_ssl": tls,
        "broker_url": settings.broker_url,
        "result_backend": settings.broker_url,
        # Messages: data only.
        "accept_content": ["json", "msgpack"],
        "task_serializer": "json",
        "result_serializer": "json",
        # Queues: one for each pool, so that a caller chooses how its task runs.
        "task_queues": [Queue(kind.value, routing_key=kind.value) for kind in PoolKind],
        "task_default_queue": DEFAULT_QUEUE,
        "task_routes": {name: {"queue": contract.queue} for name, contract in CONTRACTS.items()},
        # Delivery: acknowledge after the outcome is stored, hold no more than what runs.
        "task_acks_late": True,
        # Tasks with a countdown wait in the worker, at about 10 KB each; beyond this many it takes
        # no more until one is due.
        "worker_eta_task_limit": 10_000,
        "worker_prefetch_multiplier": 1,
        # A message whose pool process was killed goes back to its queue, counted.
        "task_reject_on_worker_lost": True,
        # Seconds that a killed pool child's result may still be on its way; Celery's own 10
        # would be waited for at each try.
        "worker_lost_wait": 1.0,
        "broker_transport_options": {
            **timeouts,
            "socket_keepalive_options": keepalive(settings),
            # How long a worker may hear nothing before it asks whether Redis is still there.
            "health_check_interval": 5,
            # kombu's pool raises when it is empty: every greenlet may acknowledge at once.
            "max_connections": MAX_CONNECTIONS,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Results of ordinary tasks; a `call` answers over its caller's reply stream.
        "result_expires": settings.result_expires_s,
        "result_extended": True,
        "result_backend_thread_safe": True,
        "redis_max_connections": MAX_CONNECTIONS,
        "redis_socket_timeout": settings.redis_timeout_s,
        "redis_socket_connect_timeout": min(settings.redis_timeout_s, 2.0),
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": 25,
        "task_track_started": True,
        # Periodic tasks: `celery -A worker beat` looks this often at what was added meanwhile.
        "beat_scheduler": "worker.beat:Scheduler",
        "beat_max_loop_interval": 1.0,
        "redbeat_redis_url": settings.redis_url,
        "redbeat_redis_options": {},
        "redbeat_key_prefix": keys.SCHEDULE_ENTRY,
        "redbeat_lock_key": None,
        # For Flower; see `shared.broker.events`. That a task was sent shows in its queue's length.
        "worker_send_task_events": True,
    }


app.add_defaults(configuration)
app.loader.override_backends = dict.fromkeys(("redis", "rediss"), "shared.broker.results:Backend")

"""Ours with one thing otherwise: what `bench.levers` measures beside it.

The variant is named by BENCH_VARIANT, for the client and the worker alike.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from shared.broker import messages
from shared.calls import outbox

NAME = os.environ.get("BENCH_VARIANT", "")

# How many messages go in one round trip.
PUSHED_AT_ONCE = 1 if NAME == "push-singly" else 500

# Further options of the worker.
OPTIONS = {
    "log-info": ["--loglevel", "INFO"],
    "no-gossip": ["--without-gossip", "--without-heartbeat"],
    "fair": ["--optimization", "fair"],
}

# redis-py takes hiredis where it is. Our own code packs commands with it in any case.
_PYTHONS_PARSER = (
    "import sys; sys.modules['hiredis'] = None; import redis; del sys.modules['hiredis']"
)
if NAME == "python-parser":
    exec(_PYTHONS_PARSER)  # noqa: S102 - as the worker does it


def celery_command() -> list[str]:
    """What starts Celery's command line."""
    if NAME == "python-parser":
        code = f"{_PYTHONS_PARSER}; from celery.__main__ import main; sys.exit(main())"
        return [sys.executable, "-c", code]
    return [sys.executable, "-m", "celery"]


def switch(app: Any) -> None:
    """Make the application of this process the variant."""
    if NAME in SWITCHES:
        SWITCHES[NAME](app)


def _celerys_publishing(app: Any) -> None:
    # With a receiver of its signal, the prepared message is not taken.
    from celery import signals

    signals.before_task_publish.connect(lambda **_: None, weak=False)


def _kombus_transport(app: Any) -> None:
    app.conf.broker_transport = "redis"


def _take_singly(app: Any) -> None:
    from shared.broker.transport import Channel

    Channel._how_many = lambda self: 1  # type: ignore[method-assign]


def _no_more_than_room(app: Any) -> None:
    from shared.broker.transport import Channel

    def how_many(self: Any) -> int:
        room: int = self.qos.can_consume_max_estimate()
        return max(1, room)

    Channel._how_many = how_many  # type: ignore[method-assign]


def _acknowledge_singly(app: Any) -> None:
    from shared.broker import ownership

    def settle(self: Any, delivery_tag: str) -> None:
        found = messages.parse_tag(delivery_tag)
        if delivery_tag in self._answering:
            self._answering.discard(delivery_tag)
        elif found is not None:
            self._settler.hdel(*found)

    ownership.Owner.settle = settle  # type: ignore[method-assign]


def _answer_apart(app: Any) -> None:

    together = outbox.answer

    def answer(*args: Any, delivery_tag: str = "", **named: Any) -> None:
        together(*args, **named)

    outbox.answer = answer


def _celerys_tracer(app: Any) -> None:
    from worker import tracing

    tracing.install = lambda tasks: None


def _pooled_connections(app: Any) -> None:
    from shared.broker import connections

    connections.Pool.borrow = connections.Pool.get_connection  # type: ignore[method-assign]
    connections.Pool.give_back = connections.Pool.release  # type: ignore[method-assign]


def _celerys_threads(app: Any) -> None:
    from celery import concurrency

    from shared.pools import PoolKind

    concurrency.ALIASES[PoolKind.THREADS] = "celery.concurrency.thread:TaskPool"


def _celerys_greenlets(app: Any) -> None:
    from celery import concurrency

    from shared.pools import PoolKind

    concurrency.ALIASES[PoolKind.GEVENT] = "celery.concurrency.gevent:TaskPool"


def _events_always(app: Any) -> None:
    app.events_cls = "celery.app.events:Events"


def _backend_for_each(app: Any) -> None:
    app.conf.result_backend_thread_safe = False


def _prefetch(app: Any) -> None:
    app.conf.worker_prefetch_multiplier = 10


SWITCHES: dict[str, Callable[[Any], None]] = {
    "celerys-publishing": _celerys_publishing,
    "kombus-transport": _kombus_transport,
    "take-singly": _take_singly,
    "no-more-than-room": _no_more_than_room,
    "acknowledge-singly": _acknowledge_singly,
    "answer-apart": _answer_apart,
    "celerys-tracer": _celerys_tracer,
    "pooled-connections": _pooled_connections,
    "celerys-threads": _celerys_threads,
    "celerys-greenlets": _celerys_greenlets,
    "events-always": _events_always,
    "backend-for-each": _backend_for_each,
    "prefetch-10": _prefetch,
}


def start() -> None:
    """In the client: what the variant needs beside it."""
    if NAME == "listened":
        threading.Thread(target=_listen, daemon=True).start()


def _listen() -> None:
    """Receive all events and throw them away: somebody listens, at no cost of its own."""
    url = urlsplit(os.environ["BENCH_REDIS"])
    with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
        connection.sendall(b"PSUBSCRIBE /*.celeryev/*\r\n")
        while connection.recv(1 << 16):
            pass

"""The service's state for Prometheus. Flower exports tasks, but no queues."""

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import start_http_server

from producer import status
from shared.broker import keys, messages
from shared.broker.messages import SENT_AT
from shared.errors import BrokerRefused, BrokerUnavailable, DaySixError
from shared.pools import PoolKind

_LAST_TIME = 253_402_300_799  # the year 9999

# One for each pool: name, what it says, which of `PoolStatus` it shows.
_GAUGES = (
    ("day_six_workers", "Workers that are alive.", "workers"),
    ("day_six_worker_places", "Tasks that the workers run at once.", "concurrency"),
    ("day_six_tasks_running", "Tasks that are running.", "running"),
    ("day_six_queue_length", "Messages that no worker has taken yet.", "queued"),
    ("day_six_dead_letters", "Messages that no worker will run again.", "dead"),
)
_COUNTERS = (
    ("day_six_tasks_done", "Tasks that succeeded.", "done"),
    ("day_six_tasks_failed", "Tasks that failed.", "failed"),
)


class Collector:
    """Reads Redis anew for each scrape."""

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment, as `prometheus_client` wants them."""
        found = list(_read())
        yield GaugeMetricFamily("day_six_up", "Whether Redis answers.", value=1)
        yield from found


class Patient(Collector):
    """The same; while Redis does not answer, ``day_six_up`` is 0 and the rest is absent."""

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        try:
            yield from list(super().collect())
        except (BrokerUnavailable, BrokerRefused):
            yield GaugeMetricFamily("day_six_up", "Whether Redis answers.", value=0)


def text() -> str:
    """All metrics in Prometheus' text format; `BrokerUnavailable` when Redis does not answer."""
    return generate_latest(_registry(Collector())).decode()


def serve(host: str, port: int) -> tuple[Any, Any]:
    """Answer ``GET /metrics`` in a thread; the server and its thread."""
    try:
        return start_http_server(port, addr=host, registry=_registry(Patient()))
    except OSError as error:
        raise DaySixError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --serve or --host"
        ) from None


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def _read() -> Iterator[Metric]:
    states = status.read()
    for name, told, field in _GAUGES:
        gauge = GaugeMetricFamily(name, told, labels=["queue"])
        for state in states:
            gauge.add_metric([state.pool], getattr(state, field))
        yield gauge
    for name, told, field in _COUNTERS:
        counter = CounterMetricFamily(name, told, labels=["queue"])
        for state in states:
            counter.add_metric([state.pool], getattr(state, field))
        yield counter
    oldest = GaugeMetricFamily(
        "day_six_queue_oldest_seconds",
        "How long ago the message at the front of the queue was sent, by its sender's clock; "
        "absent for an empty queue, and for a sender that does not tell.",
        labels=["queue"],
    )
    for queue, age_s in _ages().items():
        oldest.add_metric([queue], age_s)
    yield oldest
    (lost,) = status.ask(("hget", keys.COUNTS, keys.LEASES_LOST))
    yield CounterMetricFamily(
        "day_six_leases_lost",
        "Workers that were gone, or paused, for longer than their lease.",
        value=status.number(lost),
    )


def _ages() -> dict[str, float]:
    """The seconds since the front message of each queue was sent."""
    lists = [key for kind in PoolKind for key in status.queue_keys(kind.value)]
    fronts = iter(status.ask(*(("lindex", key, -1) for key in lists)))
    ages: dict[str, float] = {}
    for kind in PoolKind:
        for _ in status.queue_keys(kind.value):
            message = messages.parse(next(fronts) or b"")
            sent = message["headers"].get(SENT_AT) if message else None
            if isinstance(sent, int | float) and 0 <= sent <= _LAST_TIME:
                age_s = max(0.0, time.time() - sent)
                ages[kind.value] = max(age_s, ages.get(kind.value, 0.0))
    return ages

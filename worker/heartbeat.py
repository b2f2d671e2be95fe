"""What a worker tells about itself: a line in `shared.broker.presence`, and its counts."""

import os
import threading
from collections import Counter
from typing import Any

from celery import bootsteps, signals, states
from celery.utils.log import get_logger
from celery.worker import state

from shared.broker import keys, presence
from shared.broker.connections import connect, store
from shared.broker.messages import queue_of
from shared.broker.per_process import PerProcess
from shared.calls import encoding
from shared.endings import Background
from shared.laboratory import probes
from shared.pools import PoolKind
from shared.settings import current
from worker import deadlines

logger = get_logger(__name__)

INTERVAL_S = 2.0
FLUSH_S = 1.0


class Presence(bootsteps.StartStopStep):
    """Renews the worker's line from its consumer's loop, and takes it back at the end."""

    # A worker that is seen has said what its tasks are.
    requires = ("celery.worker.consumer.tasks:Tasks", "worker.registration:Catalogue")

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.timer_entry: Any = None
        self.startup_s: float | None = None
        # The consumer's loop waits for the answer, so it must not wait long.
        self.redis = connect(current(), answer_within_s=2.0)

    def start(self, parent: Any) -> None:
        # Only the first time: a lost connection starts the consumer again.
        self.startup_s = self.startup_s or probes.process_age_s()
        self.timer_entry = parent.timer.call_repeatedly(
            INTERVAL_S, parent.call_soon, (self.renew, parent), priority=10
        )
        parent.call_soon(self.renew, parent)

    def stop(self, parent: Any) -> None:
        presence.rest()
        if self.timer_entry is not None:
            self.timer_entry.cancel()
            self.timer_entry = None

    def shutdown(self, parent: Any) -> None:
        self.stop(parent)
        try:
            presence.take_back(self.redis)
        except Exception as error:
            logger.warning("the worker's line stays until its lease ends: %s", error)

    def renew(self, parent: Any) -> None:
        """Say once more that this worker is there."""
        # Celery may miss the moment of a child's death, and then looks only every 5 s.
        maintain = getattr(parent.pool, "maintain_pool", None)
        if maintain is not None:
            maintain()
        running = list(state.active_requests)
        worker = presence.Worker(
            name=parent.hostname,
            pool=pool_kind(type(parent.pool)).value,
            concurrency=parent.pool.num_processes,
            pid=os.getpid(),
            running=len(running),
            startup_s=self.startup_s,
            process=presence.PROCESS,
            queues=tuple(queue.name for queue in parent.task_consumer.queues),
            running_by_queue=dict(Counter(queue_of(request.delivery_info) for request in running)),
        )
        try:
            presence.renew(self.redis, worker)
            end_orphans(parent.pool, self.redis)
        except Exception as error:
            # The consumer notices a lost broker by itself; the line just ends.
            logger.warning("the worker's line is not renewed: %s", error)


def end_orphans(pool: Any, redis: Any) -> None:
    """End the processes whose parent is gone: its reply stream's lease has ended."""
    processes = [r for r in state.active_requests if r.task.name == encoding.PROCESS]
    if not processes:
        return
    pipe = redis.pipeline(transaction=False)
    for request in processes:
        pipe.exists(request.args[1])
    for request, parent_lives in zip(processes, pipe.execute(), strict=True):
        if not parent_lives:
            logger.warning("ending %s: its parent is gone", request)
            request.terminate(pool, signal="KILL")


def pool_kind(pool_class: Any) -> PoolKind:
    """The kind behind the class or alias that Celery's ``--pool`` became."""
    name = pool_class if isinstance(pool_class, str) else getattr(pool_class, "__module__", "")
    # celery.concurrency.gevent, .thread, .prefork: the last without its plural.
    for kind in (PoolKind.GEVENT, PoolKind.THREADS):
        if kind.value.removesuffix("s") in name:
            return kind
    return PoolKind.PREFORK


class Counts:
    """How many tasks ended well or not, added up in Redis about once a second.

    Tasks end in a pool's children, so each process counts for itself and one thread of it
    writes. What was not yet written when a process is killed is missing from the counts.
    """

    KEY = keys.COUNTS

    def __init__(self) -> None:
        self._pending: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ended = threading.Event()
        Background(self._flush_forever, "counts", end=self._end).start()

    def add(self, queue: str, outcome: str) -> None:
        """Count one task."""
        with self._lock:
            self._pending[f"{queue}:{outcome}"] += 1
        if not self._news.is_set():
            self._news.set()

    def flush(self) -> None:
        """Write what has been counted."""
        with self._lock:
            pending, self._pending = self._pending, Counter()
        if not pending:
            return
        try:
            pipe = store().pipeline(transaction=True)
            for field, number in pending.items():
                pipe.hincrby(self.KEY, field, number)
            pipe.execute()
        except Exception as error:
            logger.debug("the counts wait for Redis: %s", error)
            with self._lock:
                self._pending.update(pending)

    def _end(self) -> None:
        self._ended.set()
        self._news.set()

    def _flush_forever(self) -> None:
        while not self._ended.is_set():
            self._news.wait()
            self._news.clear()
            self._ended.wait(FLUSH_S)
            self.flush()
            if self._pending:
                self._news.set()


counts = PerProcess(Counts)


@signals.task_postrun.connect(weak=False)
def _count(task: Any, state: str, **_: Any) -> None:
    if state == states.RETRY:
        return  # it has not ended
    queue = queue_of(task.request.delivery_info)
    # Asked here, before `deadlines` forgets it: that is connected after this.
    done = state == "SUCCESS" and not deadlines.comes_late(task.request)
    counts().add(queue, "done" if done else "failed")


@signals.worker_process_shutdown.connect(weak=False)
@signals.worker_shutdown.connect(weak=False)
def _flush(**_: Any) -> None:
    if (made := counts.existing()) is not None:
        made.flush()

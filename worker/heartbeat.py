"""A worker's reports on itself: its line in `shared.broker.presence`, and its counts."""

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
    """Renews the worker's line from its consumer's loop, and removes it at the end."""

    # The catalogue comes first: a visible worker has published its tasks.
    requires = ("celery.worker.consumer.tasks:Tasks", "worker.registration:Catalogue")

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.timer_entry: Any = None
        self.startup_s: float | None = None
        # The consumer's loop waits for the answer, so the timeout is short.
        self.redis = connect(current(), answer_within_s=2.0)

    def start(self, parent: Any) -> None:
        # Measure only once: the consumer starts again after each lost connection.
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
        """Renew the worker's line and its figures."""
        # Celery may miss the death of a pool process, and then checks only every 5 s.
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
            # The consumer notices a lost broker by itself. The line expires.
            logger.warning("the worker's line is not renewed: %s", error)


def end_orphans(pool: Any, redis: Any) -> None:
    """End `Process`es whose parent is gone, because its reply stream has expired."""
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
    """The kind of pool behind a class or alias of Celery's ``--pool``."""
    name = pool_class if isinstance(pool_class, str) else getattr(pool_class, "__module__", "")
    # The modules are celery.concurrency.gevent, .thread (without "s") and .prefork.
    for kind in (PoolKind.GEVENT, PoolKind.THREADS):
        if kind.value.removesuffix("s") in name:
            return kind
    return PoolKind.PREFORK


class Counts:
    """Counts of done and failed tasks, added to the counts in Redis about once a second.

    Tasks end in the pool's processes, so each process has counts and a thread that writes them.
    If a process is killed, its unwritten counts are lost.
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
        """Add the new counts to Redis."""
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
        return  # the task will run again
    queue = queue_of(task.request.delivery_info)
    # Ask before `deadlines` forgets the task: its receiver is connected later and runs later.
    done = state == "SUCCESS" and not deadlines.comes_late(task.request)
    counts().add(queue, "done" if done else "failed")


@signals.worker_process_shutdown.connect(weak=False)
@signals.worker_shutdown.connect(weak=False)
def _flush(**_: Any) -> None:
    if (made := counts.existing()) is not None:
        made.flush()

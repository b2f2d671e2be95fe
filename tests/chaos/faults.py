"""What is done to the service; each fault returns the account of its tasks."""

import signal
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psutil

from tests.chaos import answers
from tests.chaos.bench import QUEUE, Bench, stop
from tests.support import patient, wait_until

CONCURRENCY = 4
STOPPED = "worker stopped"


@dataclass
class Report:
    """One line of the table."""

    fault: str
    pool: str
    times: int
    tasks: int
    lost: int
    twice: int
    again: int  # of these, with their outcome recorded already
    dead: int
    recovery_s: float  # until everything was done, from the last fault on
    slots: int = field(default=CONCURRENCY)
    crashes: int = 0

    @property
    def passed(self):
        if self.fault == STOPPED:
            # Leases as short as theirs end on a busy machine, and the tasks of a worker run again.
            return not self.lost and not self.crashes
        return not self.lost and not self.again and self.twice <= self.times * self.slots


def _report(bench, fault, pool, times, recovery_s):
    account = bench.account()
    return Report(
        fault,
        pool,
        times,
        bench.sent,
        account["lost"],
        account["twice"],
        account["again"],
        account["dead"],
        recovery_s,
    )


def _drain(bench, within_s):
    """Wait until nothing is queued or taken; the seconds it took."""
    began = time.monotonic()

    def empty():
        account = bench.account()
        return not account["queued"] and not account["taken"]

    wait_until(empty, within_s, "the rest")
    return time.monotonic() - began


def kill_workers(pool, times, *, plain=False, seed=1, recover=True):
    """SIGKILL the worker at random moments while it drains its queue."""
    with Bench(plain=plain, seed=seed) as bench:
        for _ in range(times):
            bench.send(max(0, 2_000 - bench.client.llen(QUEUE)))
            before = bench.done()
            worker = bench.worker(pool, CONCURRENCY)
            wait_until(lambda b=before: bench.done() > b, 30, "a first task")
            time.sleep(bench.random.uniform(0.05, 0.5))
            bench.kill(worker)
        recovery = 0.0
        if recover:
            # What waits is of no interest any more: one idle worker, a silent queue.
            rest = bench.account()
            dropped = bench.client.llen(QUEUE)
            bench.client.delete(QUEUE)
            bench.sent -= dropped
            bench.worker(pool, CONCURRENCY)
            recovery = _drain(bench, 60 if not plain else 0.1) if rest["taken"] else 0.0
        return _report(bench, "worker killed", pool, times, recovery)


def _works(bench, worker):
    """True if a worker has done a task. Refills an empty queue, because a late worker needs a task."""
    if not bench.client.llen(QUEUE):
        bench.send(400, seconds=0.005)
    return "succeeded" in bench.log_of(worker)


def stop_workers(pool, times, *, at_once=4, lease_s=0.4, waiting=0, seed=9):
    """SIGTERM workers at random moments while they drain their queue; how many ended badly.

    `waiting`: so many tasks with a countdown lie in them meanwhile.
    """
    bad = []
    with Bench(seed=seed, WORKER_LEASE_S=str(lease_s)) as bench:
        bench.send(waiting, eta=datetime.now(UTC) + timedelta(hours=1))
        for begun in range(0, times, at_once):
            workers = [bench.worker(pool, CONCURRENCY) for _ in range(min(at_once, times - begun))]
            for worker in workers:
                wait_until(lambda w=worker: _works(bench, w), 60, "a first task")
            time.sleep(bench.random.uniform(0.0, 0.5))
            for worker in workers:
                worker.terminate()
            for worker in workers:
                status = worker.wait(patient(60))
                bench.workers.remove(worker)
                said = bench.log_of(worker)
                if status or "Traceback" in said:
                    bad.append((status, said))
        report = _report(bench, STOPPED, pool, times, 0.0)
    for status, said in bad:
        print(f"{pool}: exit {status}", *said.splitlines()[-40:], sep="\n", file=sys.stderr)
    report.crashes = len(bad)
    return report


def kill_children(times, *, seed=2):
    """SIGKILL one process of the pool at random moments."""
    with Bench(seed=seed) as bench:
        worker = bench.worker("prefork", CONCURRENCY)
        bench.send(50)
        wait_until(bench.done, 30, "a first task")
        for _ in range(times):
            bench.send(max(0, 500 - bench.client.llen(QUEUE)), seconds=0.01)
            time.sleep(bench.random.uniform(0.05, 0.5))
            children = psutil.Process(worker.pid).children()
            if children:
                bench.random.choice(children).kill()
        return _report(bench, "pool process killed", "prefork", times, _drain(bench, 90))


def pause_worker(pool, *, seed=3):
    """SIGSTOP one of two workers until its lease is over, then SIGCONT."""
    with Bench(seed=seed, lease_s=3.0) as bench:
        paused = bench.worker(pool, CONCURRENCY)
        bench.send(30, seconds=0.2)
        wait_until(bench.done, 30, "a first task")
        bench.worker(pool, CONCURRENCY)
        time.sleep(0.1)
        stop(paused)
        began = time.monotonic()
        wait_until(lambda: bench.done() == bench.sent, 40, "the other worker")
        recovery = time.monotonic() - began
        stop(paused, signal.SIGCONT)
        bench.send(30, seconds=0.05)
        wait_until(
            lambda: "no outcome of it counts any more" in bench.log_of(paused), 30, "the news"
        )
        _drain(bench, 30)
        return _report(bench, "worker paused", pool, 1, recovery)


def kill_redis(pool, times, *, seed=4):
    """SIGKILL Redis under load; its append-only file is written with each command."""
    with Bench(seed=seed, persistent=True) as bench:
        bench.worker(pool, CONCURRENCY)
        bench.send(800)
        wait_until(bench.done, 30, "a first task")
        for _ in range(times):
            before = bench.done()
            bench.kill_redis()
            time.sleep(bench.random.uniform(0.1, 0.5))
            bench.start_redis()
            wait_until(lambda b=before: bench.done() > b, 40, "going on")
            time.sleep(bench.random.uniform(0.1, 0.5))
        return _report(bench, "Redis killed", pool, times, _drain(bench, 90))


def cut_connections(pool, times, *, seed=5):
    """Have Redis drop every connection under load."""
    with Bench(seed=seed) as bench:
        bench.worker(pool, CONCURRENCY)
        bench.send(2_000)
        wait_until(bench.done, 30, "a first task")
        for _ in range(times):
            bench.client.client_kill_filter(_type="normal", skipme=True)
            bench.client.client_kill_filter(_type="pubsub", skipme=True)
            time.sleep(bench.random.uniform(0.05, 0.5))
        return _report(bench, "connections cut", pool, times, _drain(bench, 90))


def cut_network(pools, seconds, *, seed=6):
    """Let nothing through between the workers and Redis for a while, and tell nobody.

    Afterwards all of them must answer to remote control.
    """
    with Bench(seed=seed, network=True) as bench:
        for pool in pools:
            bench.worker(pool, CONCURRENCY)
        bench.send(300, seconds=0.1)
        wait_until(bench.done, 30, "a first task")
        wait_until(lambda: len(bench.ping()) == len(pools), 30, "remote control")
        bench.network.cut()
        time.sleep(seconds)
        before = bench.done()
        bench.network.restore()
        began = time.monotonic()
        wait_until(lambda: bench.done() > before, 60, "going on")
        recovery = time.monotonic() - began
        wait_until(lambda: len(bench.ping()) == len(pools), 60, "remote control")
        _drain(bench, 90)
        return _report(bench, "network cut", ", ".join(pools), 1, recovery)


def slow_redis(pools, delay_s, *, seed=7):
    """Let every answer of Redis, and every command, take so much longer."""
    with Bench(seed=seed, network=True) as bench:
        for pool in pools:
            bench.worker(pool, CONCURRENCY)
        bench.send(60, seconds=0.01)
        wait_until(bench.done, 30, "a first task")
        bench.network.delay_s = delay_s
        bench.send(60, seconds=0.01)
        recovery = _drain(bench, 120)
        wait_until(lambda: len(bench.ping()) == len(pools), 60, "remote control")
        return _report(bench, "Redis slow", ", ".join(pools), 1, recovery)


def kill_producers(pool, times, *, seed=8):
    """SIGKILL a producer in the middle of its batches; the next one goes on where it was heard last."""
    with Bench(seed=seed) as bench:
        bench.worker(pool, CONCURRENCY)
        last = 500 * (times + 1)
        heard = 1
        for _ in range(times):
            sender = bench.start_sender(heard, last)
            for line in sender.stdout:
                heard = int(line)
                if heard % 500 > bench.random.randrange(500):
                    break
            sender.kill()
            for line in sender.stdout:
                heard = int(line)
            sender.wait()
        sender = bench.start_sender(heard, last)
        sender.communicate(timeout=60)
        return _report(bench, "producer killed", pool, times, _drain(bench, 90))


def say_not_now(pools, words, seconds, *, seed=9):
    """Have Redis answer each of these for a while, under load of calls, tasks and chords.

    Its report fails if a worker ends, or a value does not come.
    """
    with Bench(seed=seed, config=answers.CONFIG, lease_s=10.0) as bench:
        workers = [bench.worker(pool, CONCURRENCY, queues=f"{QUEUE},{pool}") for pool in pools]
        callers = [bench.start_caller(pool, 1_000_000 * index) for index, pool in enumerate(pools)]
        first_rounds = [int(caller.stdout.readline()) for caller in callers]
        for word in words:
            answers.endure(bench.client, word, seconds)
            ran = bench.notes.hlen("ran")
            wait_until(lambda n=ran: bench.notes.hlen("ran") > n + 50, 60, f"work after {word}")
            ended = [worker.log for worker in workers if worker.poll() is not None]
            assert not ended, f"{word} ended {ended}"
        began = time.monotonic()
        sent = 0
        for caller, first in zip(callers, first_rounds, strict=True):
            rest, _ = caller.communicate(timeout=patient(240))
            assert caller.returncode == 0, rest
            sent += int((rest.split() or [first])[-1])
        wait_until(lambda: not bench.taken(), 20, "the last acknowledgement")
        ran = [int(times) for times in bench.notes.hvals("ran")]
        return Report(
            fault="not now: " + ", ".join(dict.fromkeys(words)),
            pool=", ".join(pools),
            times=0,  # no worker is lost, so nothing may run twice
            tasks=sent,
            lost=sent - len(ran),
            twice=sum(times - 1 for times in ran),
            again=0,
            dead=len(bench.letters()),
            recovery_s=time.monotonic() - began,
        )

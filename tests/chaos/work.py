"""The worker that is killed: each task notes in Redis that it ran.

``celery -A tests.chaos.work worker`` has the project's own application, or with
``CHAOS_PLAIN=1`` a plain one: Celery's own Redis transport with late acknowledgement.
"""

import builtins
import contextlib
import ctypes
import math
import os
import re
import signal
import time
from functools import lru_cache

import redis
from celery import Celery
from celery.concurrency.base import BasePool
from redis.backoff import ConstantBackoff
from redis.retry import Retry

PLAIN = os.environ.get("CHAOS_PLAIN") == "1"

if PLAIN:
    app = Celery("plain", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
    app.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        result_backend_thread_safe=True,
        broker_transport_options={"max_connections": 300},
        redis_max_connections=300,
        broker_connection_retry_on_startup=True,
    )
else:
    from worker.celery import app


def outcomes():
    """The broker's database, where results stand."""
    return _client(os.environ["REDIS_URL"])


def notes():
    """Another one."""
    return _client(os.environ["CHAOS_NOTES"])


@lru_cache(maxsize=2)
def _client(url):
    # What is tested is the service: the task itself survives everything.
    return redis.Redis.from_url(
        url,
        max_connections=1_200,
        retry=Retry(ConstantBackoff(0.1), 100),
    )


@app.task(name="note", bind=True)
def note(task, number, seconds=0.001):
    """Note that this number was run, and whether its outcome stood there already."""
    stored = outcomes().get(f"celery-task-meta-{task.request.id}") or b""
    if b'"SUCCESS"' in stored:
        notes().hincrby("again", number, 1)
    time.sleep(seconds)
    pipe = notes().pipeline(transaction=True)
    pipe.sadd("done", number)
    pipe.hincrby("ran", number, 1)
    pipe.execute()


@app.task(name="busy")
def busy(number, seconds, how, lock=""):
    """Hold the GIL for at least so long, and meanwhile a lock; then note that this number was run."""
    with _named(lock):
        notes().rpush("story", f"{number} begins")
        hold_the_gil(seconds, how)
        notes().rpush("story", f"{number} ends")
    note.run(number, 0)


@app.task(name="grab")
def grab(number, lock):
    """Wait for a lock that a busy task holds."""
    with _named(lock):
        notes().rpush("story", f"{number} has the lock")
    note.run(number, 0)


def _named(name):
    if not name:
        return contextlib.nullcontext()
    from shared.handles.base import reopen
    from shared.multiprocessing.locks import Lock

    return reopen(Lock, name, [])


def hold_the_gil(seconds, how):
    """Give no other thread of this process its turn."""
    if how == "waits":
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
        return
    # A regular expression that takes twice as long for each letter more.
    letters, took_s = 16, 0.0
    while took_s < 0.02:
        letters += 1
        began = time.thread_time()
        re.match("(a+)+$", "a" * letters + "b")
        took_s = time.thread_time() - began
    letters += math.ceil(math.log2(seconds / took_s))
    re.match("(a+)+$", "a" * letters + "b")


@app.task(name="mark")
def mark(number, seconds=0.02):
    """Note that this number was run, and return it."""
    time.sleep(seconds)
    notes().hincrby("ran", number, 1)
    return number


@app.task(name="total")
def total(numbers):
    """How many there are."""
    return len(numbers)


def call(number):
    """`mark`, as a call of the library."""
    return mark(number)


@app.task(
    name="flaky",
    bind=True,
    autoretry_for=(ConnectionError,),
    retry_backoff=True,
    max_retries=2,
)
def flaky(task, failures):
    """Fail so many times, and tell which attempt this is."""
    notes().rpush("attempts", f"{task.request.retries} {time.time()}")
    if task.request.retries < failures:
        raise ConnectionError("not yet")


@app.task(name="poison", bind=True)
def poison(task):
    """Kill the process that runs it."""
    notes().incr("poisoned")
    os.kill(os.getpid(), 9)


@app.task(name="end")
def end(how):
    """End in one of many ways."""
    {
        "exit": lambda: os._exit(3),
        "signal": lambda: os.kill(os.getpid(), signal.SIGABRT),
        "segfault": lambda: ctypes.string_at(0),
        "recursion": lambda: end(how),
        "memory": lambda: bytes(2**60),
    }[how]()


def fail_to_hand_on(error):
    """Have the consumer itself fail whenever it hands a task to its pool."""

    def apply_async(*_, **__):
        raise error("on purpose")

    BasePool.apply_async = apply_async


if FAILS := os.environ.get("CHAOS_CONSUMER"):
    fail_to_hand_on(getattr(builtins, FAILS))

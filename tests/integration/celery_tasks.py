"""Tasks of an ordinary Celery user, for workers that are started with ``--include``."""

import os
import time

from celery.exceptions import Reject, SoftTimeLimitExceeded

from shared.app import app
from shared.broker.connections import store


@app.task
def nap(seconds, name="running"):
    """Sleep; the most that slept at once under this name."""
    at_once = store().incr(name)
    store().zadd(f"{name}:most", {str(at_once): at_once})
    time.sleep(seconds)
    store().decr(name)
    return at_once


@app.task
def pid():
    return os.getpid()


@app.task(bind=True)
def rejected_once(self):
    info = self.request.delivery_info
    if not info["redelivered"]:
        raise Reject("once more", requeue=True)
    return self.request.redelivered


@app.task
def soft(seconds):
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "soft"
    return "slept"


@app.task(acks_late=False)
def early():
    raise ValueError("acknowledged before it ran")


@app.task(acks_on_failure_or_timeout=False)
def kept():
    raise ValueError("rejected")


@app.task(reject_on_worker_lost=False)
def leave_for_good():
    os._exit(1)


@app.task
def note(key, value, seconds=0):
    """Append the value to a list, then sleep."""
    store().rpush(key, value)
    time.sleep(seconds)

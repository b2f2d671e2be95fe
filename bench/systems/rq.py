"""RQ."""

import os
import sys

from redis import Redis
from rq import Queue
from rq.registry import StartedJobRegistry

from bench.job import ran

client = Redis.from_url(os.environ["BENCH_REDIS"])
queue = Queue("bench", connection=client)

SIZES = {"threads": 10, "processes": 2}


def noop() -> None:
    """Do nothing."""
    ran()


def echo(number: int) -> int:
    """Return the argument."""
    return number


def enqueue(count: int) -> None:
    for _ in range(count):
        queue.enqueue(noop, result_ttl=0)


def enqueue_bulk(count: int) -> None:
    queue.enqueue_many([Queue.prepare_data(noop, result_ttl=0) for _ in range(count)])


def call(number: int) -> int:
    return queue.enqueue(echo, number).latest_result(timeout=60).return_value


def gather(count: int) -> list[int]:
    jobs = [queue.enqueue(echo, number) for number in range(count)]
    return [job.latest_result(timeout=60).return_value for job in jobs]


def left() -> int:
    return len(queue) + StartedJobRegistry(queue=queue).count


def worker(form: str) -> list[list[str]]:
    if form not in SIZES:
        return []
    rq = os.path.join(os.path.dirname(sys.executable), "rq")
    command = [sys.executable, rq, "worker-pool", "--url", os.environ["BENCH_REDIS"]]
    command += ["--num-workers", str(SIZES[form]), "--worker-class", "rq.worker.SimpleWorker"]
    return [[*command, queue.name]]

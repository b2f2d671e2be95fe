"""A Redis, workers to be killed, and an account of every task."""

import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from collections import Counter

import psutil
import redis
from celery import Celery

from tests.chaos.network import Network
from tests.support import ROOT, RedisServer, leased

MARK = "DAY_SIX_CHAOS"
QUEUE = "chaos"


class Bench:
    """One Redis and its workers; everything ends with it."""

    def __init__(
        self,
        *,
        plain=False,
        persistent=False,
        network=False,
        config="",
        lease_s=5.0,
        seed=1,
        **variables,
    ):
        """`config`: more of Redis' own; `variables`: more of the workers' environment."""
        self.plain, self.lease_s = plain, leased(lease_s)
        self.random = random.Random(seed)
        self.mark = uuid.uuid4().hex
        self.server = RedisServer(persistent=persistent, config=config)
        self.folder, self.port = self.server.folder, self.server.port
        self.url = f"redis://127.0.0.1:{self.port}"
        self.network = Network(self.port) if network else None
        self.client = self.server.client
        # A server of its own where the broker's takes no notes.
        self.notebook = RedisServer() if config else None
        self.notes = self.notebook.client if config else redis.Redis.from_url(f"{self.url}/1")
        self.start_redis, self.kill_redis = self.server.start, self.server.kill
        self.workers = []
        self.environment = variables  # of workers, beside what every one has
        self.sent = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in list(self.workers):
            self.kill(worker)
        if self.network:
            self.network.close()
        if self.notebook:
            self.notebook.close()
        self.server.close()

    @property
    def notes_url(self):
        return self.notebook.url if self.notebook else f"{self.url}/1"

    def worker(self, pool, concurrency=4, queues=QUEUE, name=None):
        """Start a worker."""
        log = self.folder / f"{pool}-{len(list(self.folder.iterdir()))}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": f"redis://127.0.0.1:{self.network.port if self.network else self.port}/0",
            "CHAOS_NOTES": self.notes_url,
            # Not all of "tests": a worker imports what makes tasks, and a test empties its environment.
            "TASK_MODULES": "tests.chaos,tests.integration",
            "CHAOS_PLAIN": "1" if self.plain else "0",
            "WORKER_LEASE_S": str(self.lease_s),
            "PYTHONDONTWRITEBYTECODE": "1",
            MARK: self.mark,
            **self.environment,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.chaos.work", "worker"),
                    *("--pool", pool, "--concurrency", str(concurrency), "--queues", queues),
                    *("--without-mingle", "--without-gossip", "--loglevel", "INFO"),
                    *("--hostname", name or f"{pool}@%h"),
                ],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process.log = log
        self.workers.append(process)
        return process

    def kill(self, worker):
        """SIGKILL a worker with all its processes at once."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [psutil.Process(worker.pid)]
            family += family[0].children(recursive=True)
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        worker.wait()
        self.workers.remove(worker)

    def send(self, number, seconds=0.001, task="note", queue=QUEUE, arguments=None, eta=None):
        """Put this many tasks on the queue, in kombu's own format."""
        pipe = self.client.pipeline(transaction=False)
        for _ in range(number):
            self.sent += 1
            args = [self.sent, seconds] if task == "note" else []
            pipe.lpush(queue, message(task, args if arguments is None else arguments, eta))
        pipe.execute()

    def start_sender(self, first, last):
        """Start a producer that sends these numbers, in a process of its own."""
        self.sent = max(self.sent, last)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.sender", str(first), str(last)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": f"{self.url}/0"},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start_caller(self, kind, first):
        """Start a client that calls, and sends tasks, and waits for all, until its input ends."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.caller", kind, str(first)],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "REDIS_URL": f"{self.url}/0",
                "CHAOS_NOTES": self.notes_url,
                # Not all of "tests": a worker imports what makes tasks, and a test empties its environment.
                "TASK_MODULES": "tests.chaos,tests.integration",
            },
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def done(self):
        return self.notes.scard("done")

    def account(self):
        """Where every number is: done, queued, taken, dead, or lost."""
        done = {int(number) for number in self.notes.smembers("done")}
        places = Counter()
        elsewhere = set()
        for place, texts in (
            ("queued", self.client.lrange(QUEUE, 0, -1)),
            ("taken", self.taken()),
            ("dead", self._dead()),
        ):
            for text in texts:
                args = json.loads(base64.b64decode(json.loads(text)["body"]))[0]
                if args:
                    elsewhere.add(args[0])
                    places[place] += 1
        places["done"] = len(done)
        places["lost"] = self.sent - len(done | elsewhere)
        ran = [int(times) for times in self.notes.hvals("ran")]
        places["twice"] = sum(times - 1 for times in ran)
        places["again"] = sum(int(times) for times in self.notes.hvals("again"))
        return places

    def taken(self):
        """The messages that workers hold."""
        entries = [e for key in self.client.scan_iter("taken:*") for e in self.client.hvals(key)]
        unacked = [json.loads(entry)[0] for entry in self.client.hvals("unacked")]
        return [entry.partition(b"\n")[2] for entry in entries] + list(map(json.dumps, unacked))

    def _dead(self):
        for letter in self.client.hvals("dead:letters"):
            yield base64.b64decode(json.loads(letter)["message"])

    def letters(self):
        return [json.loads(letter) for letter in self.client.hvals("dead:letters")]

    def ping(self):
        """What the workers answer to ``ping``."""
        with Celery(broker=f"{self.url}/0", set_as_current=False) as app:
            return app.control.ping(timeout=1)

    def control(self, command, queue):
        """Tell all workers to consume a queue, or to leave it."""
        with Celery(broker=f"{self.url}/0", set_as_current=False) as app:
            getattr(app.control, command)(queue, reply=True, timeout=5)

    def commands(self, name="eval"):
        """How many of these Redis has seen."""
        return self.client.info("commandstats").get(f"cmdstat_{name}", {}).get("calls", 0)

    def log_of(self, worker):
        return worker.log.read_text(errors="replace")


def message(task, args, eta=None):
    task_id = str(uuid.uuid4())
    body = json.dumps([args, {}, {"callbacks": None, "errbacks": None, "chain": None}])
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task,
                "id": task_id,
                "root_id": task_id,
                "eta": eta.isoformat() if eta else None,
            },
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def stop(process, number=signal.SIGSTOP):
    """Send a signal to a worker's processes, the first one first."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    for one in family:
        one.send_signal(number)

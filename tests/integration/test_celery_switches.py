"""Celery's own options and remote control, on all three pools: what `docs/celery.md` says."""

import json
import subprocess
import sys
import threading
import time
import uuid

import pytest
import redis
from celery.exceptions import TimeLimitExceeded
from celery.result import AsyncResult
from kombu import Exchange, Queue

from shared.app import app
from shared.broker import deadletters, presence
from shared.broker.connections import store
from shared.pools import PoolKind
from tests.integration import celery_tasks as tasks
from tests.support import leased, patient, wait_until

KINDS = [kind.value for kind in PoolKind]
CELERY = [sys.executable, "-m", "celery", "-A", "worker"]
PLACES = 2


class Node:
    """A worker with two places, on a queue of its own."""

    def __init__(self, stack, folder, kind, *options, queue=None):
        self.kind = kind
        self.queue = queue or f"switches-{kind}-{uuid.uuid4().hex[:6]}"
        self.name = f"{self.queue}@here"
        self.log = folder / f"{self.queue}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(*CELERY, "worker", "--pool", kind, "-Q", self.queue, "-n", self.name),
                    *("--include", tasks.__name__, "--without-mingle", "-l", "INFO", *options),
                ],
                env={**stack.process_environment(), "WORKER_LEASE_S": str(leased(3))},
                stdout=log,
                stderr=log,
            )
        self.inspect = app.control.inspect([self.name], timeout=patient(3))

    def ready(self):
        wait_until(lambda: self.process.poll() is not None or "ready." in self.said())
        assert self.process.poll() is None, self.said()
        return self

    def said(self):
        return self.log.read_text()

    def tell(self, command, **arguments):
        """The answer of this worker to a command of remote control."""
        (answer,) = app.control.broadcast(
            command,
            arguments=arguments,
            destination=[self.name],
            reply=True,
            limit=1,
            timeout=patient(10),
        )
        return answer[self.name]

    def send(self, task, *args, **options):
        return task.apply_async(args, **{"queue": self.queue, **options})

    def run(self, task, *args, **options):
        return self.send(task, *args, **options).get(timeout=patient(30))

    def most_at_once(self, count, seconds=0.3):
        """How many of so many tasks ran at the same time."""
        name = uuid.uuid4().hex
        sent = [self.send(tasks.nap, seconds, name) for _ in range(count)]
        return max(result.get(timeout=patient(60)) for result in sent)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(patient(30)) == 0, self.said()


@pytest.fixture(scope="module")
def nodes(stack, tmp_path_factory):
    """One worker of each pool."""
    folder = tmp_path_factory.mktemp("workers")
    options = {
        kind: ["-c", str(PLACES), "-O", "fair", "--prefetch-multiplier", "2"] for kind in KINDS
    }
    nodes = {kind: Node(stack, folder, kind, *options[kind]) for kind in KINDS}
    for node in nodes.values():
        node.ready()
    yield nodes
    for node in nodes.values():
        node.stop()


@pytest.fixture(params=KINDS)
def node(request, nodes):
    return nodes[request.param]


def dead():
    return {letter["id"]: letter["reason"] for letter in deadletters.letters()}


def test_a_pool_grows_and_shrinks_by_remote_control(node):
    assert node.tell("pool_grow", n=2) == {"ok": "pool will grow"}
    wait_until(lambda: node.most_at_once(12) == PLACES + 2, what="four at once")
    wait_until(
        lambda: [w.concurrency for w in presence.workers() if w.name == node.name] == [PLACES + 2]
    )

    assert node.tell("pool_shrink", n=2) == {"ok": "pool will shrink"}
    wait_until(lambda: node.most_at_once(8) == PLACES, what="two at once")

    assert "has only" in node.tell("pool_shrink", n=100)["error"]
    assert node.most_at_once(8) == PLACES


def test_a_queue_is_consumed_and_left_by_remote_control(node):
    added = f"{node.queue}-added"
    assert "ok" in node.tell("add_consumer", queue=added)
    assert node.run(tasks.nap, 0, queue=added) >= 1
    assert added in [queue["name"] for queue in node.inspect.active_queues()[node.name]]

    assert "ok" in node.tell("cancel_consumer", queue=added)
    wait_until(lambda: added not in [q["name"] for q in node.inspect.active_queues()[node.name]])
    left = node.send(tasks.nap, 0, queue=added)
    assert node.run(tasks.nap, 0) >= 1
    assert store().llen(added) == 1
    assert not left.ready()
    store().delete(added)


def test_a_queue_of_a_topic_is_consumed(node):
    name = f"{node.queue}-topic"
    exchange = Exchange(f"{name}-exchange", type="topic")
    answer = node.tell(
        "add_consumer",
        queue=name,
        exchange=exchange.name,
        exchange_type="topic",
        routing_key="a.*",
    )
    assert "ok" in answer
    queue = Queue(name, exchange, routing_key="a.*")

    sent = tasks.nap.apply_async((0,), exchange=exchange, routing_key="a.b", declare=[queue])

    assert sent.get(timeout=patient(30)) >= 1
    node.tell("cancel_consumer", queue=name)


def test_a_task_is_slowed_down_and_no_other(node):
    assert "ok" in node.tell("rate_limit", task_name=tasks.pid.name, rate_limit="2/s")
    began = time.monotonic()
    limited = [node.send(tasks.pid) for _ in range(4)]
    assert node.run(tasks.nap, 0) >= 1
    free = time.monotonic() - began

    for result in limited:
        result.get(timeout=patient(30))

    assert time.monotonic() - began > 1.2
    assert free < time.monotonic() - began
    assert "ok" in node.tell("rate_limit", task_name=tasks.pid.name, rate_limit="0")


def test_a_time_limit_is_set_by_remote_control(node):
    assert "ok" in node.tell("time_limit", task_name=tasks.soft.name, hard=0.5)

    sent = node.send(tasks.soft, 60 if node.kind != "threads" else 2)

    with pytest.raises(TimeLimitExceeded):
        sent.get(timeout=patient(20))
    wait_until(lambda: sent.id in dead())
    assert "ok" in node.tell("time_limit", task_name=tasks.soft.name, hard=60)


def test_a_rejected_task_comes_back_marked(node):
    assert node.run(tasks.rejected_once) is True


def test_a_task_that_was_acknowledged_before_it_ran_is_no_dead_letter(node):
    early = node.send(tasks.early)
    with pytest.raises(ValueError, match="before it ran"):
        early.get(timeout=patient(20))
    late = node.send(tasks.kept)
    with pytest.raises(ValueError, match="rejected"):
        late.get(timeout=patient(20))

    wait_until(lambda: late.id in dead())
    assert early.id not in dead()


def test_urgent_tasks_run_first(node):
    # Kombu's Redis transport has four steps, of which 0 comes first.
    # Longer than it takes to send the others.
    hold = [node.send(tasks.nap, leased(1.5)) for _ in range(2 * PLACES)]
    wait_until(lambda: store().llen(node.queue) == 0)
    order = uuid.uuid4().hex
    # As many of each as begin together, and long enough that the next begin clearly later.
    sent = [
        node.send(tasks.note, order, p, leased(0.3), priority=p)
        for p in (9, 6, 3, 0)
        for _ in range(2 * PLACES)
    ]

    for result in (*hold, *sent):
        result.get(timeout=patient(30))

    found = [int(priority) for priority in store().lrange(order, 0, -1)]
    assert set(found[: 2 * PLACES]) == {0}
    assert set(found[-2 * PLACES :]) <= {6, 9}


@pytest.mark.parametrize("command", ["revoke", "ping", "enable_events", "disable_events"])
def test_other_commands_are_answered(node, command):
    arguments = {"task_id": "nothing"} if command == "revoke" else {}
    assert "ok" in node.tell(command, **arguments)


@pytest.mark.parametrize(
    "what",
    ["active", "reserved", "scheduled", "registered", "revoked", "stats", "conf", "report"],
)
def test_a_worker_shows_itself(node, what):
    assert node.name in getattr(node.inspect, what)()


def test_what_only_processes_can_do_is_told_at_the_command(nodes):
    # As with plain Celery: its setting worker_pool_restarts is off.
    for node in nodes.values():
        assert "Pool restarts not enabled" in node.tell("pool_restart")["error"]


def test_a_lost_process_is_final_for_a_task_that_says_so(nodes):
    sent = nodes["prefork"].send(tasks.leave_for_good)

    with pytest.raises(Exception, match="exitcode 1"):
        sent.get(timeout=patient(20))
    wait_until(lambda: sent.id in dead())
    assert "exitcode 1" in dead()[sent.id]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_scales_itself_and_keeps_its_own_limit_of_time(stack, tmp_path, kind):
    before = set(dead())
    node = Node(stack, tmp_path, kind, "--autoscale", "6,1", "--time-limit", "2").ready()

    assert node.most_at_once(30, seconds=0.2) > 1
    assert node.tell("ping") == {"ok": "pong"}
    assert "not supported with autoscale" in node.tell("pool_grow", n=1)["error"]
    assert set(dead()) == before
    sent = node.send(tasks.nap, 60 if kind != "threads" else 4)
    with pytest.raises(TimeLimitExceeded):
        sent.get(timeout=patient(20))
    assert node.tell("autoscale", max=3, min=1)["ok"].startswith("autoscale now max=3")
    node.stop()


def test_a_process_is_replaced_after_its_tasks_and_a_soft_limit_is_raised(stack, tmp_path):
    options = ("-c", "1", "--max-tasks-per-child", "2", "--soft-time-limit", "0.5")
    node = Node(stack, tmp_path, "prefork", *options).ready()

    processes = [node.run(tasks.pid) for _ in range(6)]

    assert len(set(processes)) == 3
    assert node.run(tasks.soft, 20) == "soft"
    node.stop()


def test_a_process_that_grew_is_replaced(stack, tmp_path):
    node = Node(stack, tmp_path, "processes", "-c", "1", "--max-memory-per-child", "1").ready()

    assert len({node.run(tasks.pid) for _ in range(3)}) == 3
    node.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_of_one_name_share_a_queue(stack, tmp_path, nodes, kind):
    options = ("-c", "1", "--without-gossip", "--without-heartbeat", "--disable-prefetch")
    first = nodes[kind]
    second = Node(stack, tmp_path, kind, *options, queue=first.queue).ready()

    assert first.most_at_once(12) == PLACES + 1
    second.stop()
    assert first.run(tasks.nap, 0) >= 1


def run(stack, *command, **options):
    return subprocess.run(
        [*CELERY, *command],
        env=stack.process_environment(),
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
        **options,
    )


COMMANDS = {
    "status": ["status"],
    "inspect": ["inspect", "ping"],
    "control": ["control", "enable_events"],
    "list": ["list", "bindings"],
    "report": ["report"],
    "graph": ["graph", "bootsteps"],
    "purge": ["purge", "-f", "-Q", "switches-nobodys"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_celerys_command_line_works(stack, nodes, command):
    done = run(stack, *COMMANDS[command])

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_task_is_called_and_its_result_read_on_celerys_command_line(stack, nodes):
    node = nodes["threads"]
    called = run(stack, "call", tasks.nap.name, "--args", "[0]", "--queue", node.queue)
    assert called.returncode == 0, called.stderr
    task_id = called.stdout.split()[-1]
    AsyncResult(task_id, app=app).get(timeout=patient(20))

    read = run(stack, "result", task_id)

    assert (read.returncode, read.stdout.strip().isdecimal()) == (0, True)


def test_a_queue_is_migrated_and_purged(stack):
    queue, there = f"purged-{uuid.uuid4().hex}", stack.redis_url.removesuffix("/0") + "/1"
    for _ in range(3):
        tasks.nap.apply_async((0,), queue=queue)

    moved = run(stack, "migrate", stack.redis_url, there, "-Q", queue, "-n", "1", "-t", "2")
    purged = run(stack, "purge", "-f", "-Q", queue)

    assert (moved.returncode, purged.returncode) == (0, 0), moved.stderr + purged.stderr
    assert redis.Redis.from_url(there).llen(queue) == 1
    assert store().llen(queue) == 0


def test_events_are_dumped(stack, nodes):
    process = subprocess.Popen(
        [*CELERY, "events", "--dump"],
        env={**stack.process_environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    ends = threading.Timer(patient(30), process.kill)
    ends.start()
    try:
        assert any("heartbeat" in line for line in process.stdout)
    finally:
        ends.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def test_beat_runs_inside_a_worker(stack, tmp_path):
    node = Node(stack, tmp_path, "threads", "-B", "-s", str(tmp_path / "schedule")).ready()
    wait_until(lambda: "beat: Starting" in node.said())
    node.stop()


def test_workers_are_started_and_stopped_in_the_background(stack, tmp_path):
    queue = f"background-{uuid.uuid4().hex}"
    files = [f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%n.log"]
    multi = ["multi", "start", "one", "-A", "worker", "--pool=threads", f"--queues={queue}", *files]
    started = subprocess.run(
        [sys.executable, "-m", "celery", *multi, f"--include={tasks.__name__}"],
        env=stack.process_environment(),
        timeout=patient(30),
        check=False,
    )
    assert started.returncode == 0
    assert tasks.nap.apply_async((0,), queue=queue).get(timeout=patient(30)) >= 1

    stopped = subprocess.run(
        [sys.executable, "-m", "celery", "multi", "stopwait", "one", *files],
        timeout=patient(30),
        check=False,
    )
    assert stopped.returncode == 0
    assert not list(tmp_path.glob("*.pid"))


def test_an_option_that_cannot_be_kept_is_refused_in_one_line(stack):
    done = run(stack, "worker", "--pool", "gevent", "--max-tasks-per-child", "3")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("worker: --max-tasks-per-child needs processes")
    assert "Traceback" not in done.stderr + done.stdout


def test_the_numbers_of_the_broker_are_those_of_redis(nodes):
    stats = nodes["prefork"].inspect.stats()[nodes["prefork"].name]

    assert stats["broker"]["transport"] == "redis"
    assert stats["prefetch_count"] >= PLACES
    assert json.dumps(stats)

"""The `producer` command against real workers, as a user types it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest
import redis

from shared.broker import deadletters, ownership, presence, recovery
from shared.broker.connections import store
from shared.pools import PoolKind
from tests.support import patient, wait_until

PRODUCER = [sys.executable, "-m", "producer"]


def producer(*words, **environment):
    return subprocess.run(
        [*PRODUCER, *words],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def idle_redis(stack):
    """The stack's Redis in a database that no worker consumes: what is sent stays countable."""
    url = os.environ["REDIS_URL"].rsplit("/", 1)[0] + "/9"
    client = redis.Redis.from_url(url)
    client.flushdb()
    yield url, client
    client.flushdb()


@pytest.mark.parametrize("pool", list(PoolKind))
def test_a_task_runs_on_the_pool_that_was_asked_for(stack, pool):
    done = producer(
        "send", "sleep", "0", "--pool", pool.value, "--wait", "--json", "--timeout", "30"
    )

    outcome = json.loads(done.stdout)
    assert done.returncode == 0
    assert outcome["state"] == "SUCCESS"
    assert outcome["worker"].startswith(f"{pool.value}@")


def test_a_failing_task_ends_with_its_error_and_exit_1(stack):
    done = producer("send", "fail", "boo", "--wait", "--timeout", "30")

    assert done.returncode == 1
    assert "ValueError: boo" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "names"),
    [
        (["send", "printcount", "abc"], 2, ["count='abc'", "integer"]),
        (
            ["send", "printcount", "1", "--pool", "fork"],
            2,
            ["'fork'", "prefork", "threads", "gevent"],
        ),
        (["send", "printcount", "1", "--count", "-1"], 2, ["--count", "1"]),
        (["send", "prntcount", "1"], 2, ["'prntcount'", "printcount"]),
        (["send"], 2, ["task"]),
        (["send", "sleep", "1", "--countdown", "inf"], 2, ["--countdown", "calendar"]),
        (["send", "sleep", "1", "--expires", "1e12"], 2, ["--expires", "calendar"]),
        (["send", "sleep", "1", "--when-full", "maybe"], 2, ["'maybe'", "wait", "stop"]),
        (["result", "abc"], 2, ["'abc'"]),
        (["nonsense"], 2, ["'nonsense'"]),
        (["status", "--nonsense"], 2, ["--nonsense"]),
    ],
)
def test_wrong_usage_is_one_line_exit_2_and_nothing_enqueued(idle_redis, words, status, names):
    url, client = idle_redis
    started = time.monotonic()

    done = producer(*words, REDIS_URL=url)

    assert done.returncode == status
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(name in done.stderr for name in names)
    assert client.keys("*") == []
    assert time.monotonic() - started < patient(5)


@pytest.mark.parametrize(
    "words",
    [
        ["send", "printcount", "1"],
        ["status"],
        ["tour"],
        ["result", str(uuid.uuid4())],
        ["cancel", str(uuid.uuid4())],
    ],
)
@pytest.mark.parametrize("trouble", ["down", "wrong password", "no password", "wrong host"])
def test_a_redis_that_cannot_be_used_is_one_line_exit_1_and_no_password(stack, words, trouble):
    right = os.environ["REDIS_URL"]
    url = {
        "down": "redis://:topsecret@127.0.0.1:1/0",
        "wrong password": re.sub(r":[^:@/]*@", ":topsecret@", right),
        "no password": re.sub(r":[^:@/]*@", "", right),
        "wrong host": "redis://:topsecret@no-such-host.invalid:6379/0",
    }[trouble]
    started = time.monotonic()

    done = producer(*words, REDIS_URL=url)

    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Redis at" in done.stderr
    assert "topsecret" not in done.stderr + done.stdout
    assert ("it wants a password" in done.stderr) == (trouble == "no password")
    assert time.monotonic() - started < patient(5)


def test_many_tasks_are_all_enqueued_in_kombus_own_format(idle_redis):
    url, client = idle_redis

    done = producer("send", "sleep", "0", "--count", "1234", "--json", REDIS_URL=url)

    messages = [json.loads(raw) for raw in client.lrange("threads", 0, -1)]
    assert json.loads(done.stdout)["count"] == 1234
    assert len({message["headers"]["id"] for message in messages}) == 1234
    assert {message["headers"]["task"] for message in messages} == {"sleep"}


def test_a_full_queue_stops_the_producer_when_it_chose_so(idle_redis):
    url, client = idle_redis

    done = producer(
        "send",
        "sleep",
        "0",
        "--count",
        "500",
        "--when-full",
        "stop",
        REDIS_URL=url,
        QUEUE_LIMIT="120",
    )

    assert done.returncode == 1
    assert "queue 'threads' is full" in done.stderr
    assert "120 were sent" in done.stderr
    assert client.llen("threads") == 120


def test_a_full_queue_makes_the_producer_wait_until_there_is_room(idle_redis):
    url, client = idle_redis
    sending = subprocess.Popen(
        [*PRODUCER, "send", "sleep", "0", "--count", "300"],
        env={**os.environ, "REDIS_URL": url, "QUEUE_LIMIT": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    taken = 0
    deadline = time.monotonic() + patient(30)

    while taken < 300 and time.monotonic() < deadline:
        length = client.llen("threads")
        assert length <= 100
        taken += client.brpop("threads", timeout=patient(5)) is not None
    output, said = sending.communicate(timeout=patient(10))

    assert taken == 300
    assert sending.returncode == 0
    assert "queued 300" in output
    assert "waiting for room" in said


def test_a_redis_without_room_is_told_as_such(idle_redis):
    url, client = idle_redis
    client.config_set("maxmemory", 1)
    try:
        done = producer("send", "sleep", "0", REDIS_URL=url)
    finally:
        client.config_set("maxmemory", 0)

    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "is full" in done.stderr
    assert "password" not in done.stderr


def test_ctrl_c_while_sending_says_how_many_were_queued(idle_redis):
    url, client = idle_redis
    sending = subprocess.Popen(
        [*PRODUCER, "send", "sleep", "0", "--count", "300"],
        env={**os.environ, "REDIS_URL": url, "QUEUE_LIMIT": "100"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert "waiting for room" in sending.stderr.readline()
        sending.send_signal(signal.SIGINT)
        said = sending.communicate(timeout=patient(10))[1]
    finally:
        sending.kill()
        sending.communicate()

    assert sending.returncode == 130
    assert said == "producer: interrupted; 100 of 300 sleep were queued\n"
    assert client.llen("threads") == 100


def test_a_hundred_thousand_tasks_go_out_in_bounded_memory_with_a_bar_and_its_rate(idle_redis):
    url, client = idle_redis
    ours, theirs = pty.openpty()
    sending = psutil.Popen(
        [*PRODUCER, "send", "sleep", "0", "--count", "100000", "--no-wait"],
        env={**os.environ, "REDIS_URL": url, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown, peak_mib = b"", 0.0

    while sending.poll() is None:
        peak_mib = max(peak_mib, sending.memory_info().rss / 2**20)
        try:
            shown += os.read(ours, 65536)
        except OSError:
            break  # the other end of the terminal is closed: it has ended
    os.close(ours)
    sending.wait(patient(10))

    assert sending.returncode == 0
    assert client.llen("threads") == 100_000
    assert b"/100000" in shown
    assert b"/s" in shown
    assert 0 < peak_mib < 150


def test_a_delayed_task_does_not_run_before_its_time(stack):
    started = time.monotonic()

    done = producer("send", "sleep", "0", "--countdown", "2", "--wait", "--timeout", "30")

    assert done.returncode == 0
    assert time.monotonic() - started >= 2


def test_an_expired_task_is_not_run(stack):
    done = producer(
        "send",
        "sleep",
        "0",
        "--countdown",
        "1",
        "--expires",
        "0.1",
        "--wait",
        "--timeout",
        "30",
        "--json",
    )

    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "REVOKED"


def test_waiting_ends_with_a_line_when_time_runs_out(stack):
    done = producer("send", "sleep", "3", "--wait", "--timeout", "0.5")

    assert done.returncode == 1
    assert "no result within 0.5 s" in done.stderr


@pytest.mark.parametrize("pool", [PoolKind.PREFORK, PoolKind.GEVENT])
def test_a_running_task_can_be_cancelled(stack, pool):
    task_id = json.loads(producer("send", "sleep", "60", "--pool", pool.value, "--json").stdout)[
        "ids"
    ][0]
    wait_for_state(task_id, "STARTED")

    done = producer("cancel", task_id)

    assert done.returncode == 0
    assert f"on {pool.value}@" in done.stdout
    wait_for_state(task_id, "REVOKED")


def test_a_running_thread_cannot_be_cancelled_and_that_is_said(stack):
    task_id = json.loads(producer("send", "sleep", "5", "--pool", "threads", "--json").stdout)[
        "ids"
    ][0]
    wait_for_state(task_id, "STARTED")

    done = producer("cancel", task_id)

    assert done.returncode == 1
    assert "a thread cannot be ended" in done.stderr


def test_a_queued_task_that_was_cancelled_never_runs(stack):
    task_id = json.loads(
        producer("send", "sleep", "0", "--countdown", str(int(patient(5))), "--json").stdout
    )["ids"][0]

    done = producer("cancel", task_id)

    assert done.returncode == 0
    wait_for_state(task_id, "REVOKED")


@pytest.mark.parametrize(("countdown", "kept"), [("3600", True), ("0", False)])
def test_only_what_may_have_begun_dies_with_its_workers(idle_redis, countdown, kept, monkeypatch):
    url, client = idle_redis
    monkeypatch.setattr(deadletters, "on_burial", [])  # what a worker does; this process is none
    producer("send", "sleep", "0", "--countdown", countdown, REDIS_URL=url)
    for _ in range(ownership.current().delivery_limit):
        message = client.rpop("threads")
        client.hset("taken:lost:1", 1, b"threads\n" + message)
        recovery.return_message(client, "taken:lost:1#1", "lost")

    assert client.llen("threads") == kept


def test_status_counts_what_was_done(stack):
    before = status()["gevent"]
    producer("send", "sleep", "0", "--pool", "gevent", "--count", "25", "--wait", "--timeout", "30")

    wait_until(lambda: status()["gevent"]["done"] == before["done"] + 25, what="the count")

    now = status()["gevent"]
    assert now["workers"] == 1
    assert now["concurrency"] > 0
    assert now["done"] == before["done"] + 25
    assert now["failed"] == before["failed"]


def test_the_tour_shows_its_rows_ok_on_the_cluster(stack):
    # Not S7, which measures the processor, and not S3, which takes twenty seconds.
    chosen = [word for row in ("S1", "S2", "S4", "S5", "S6", "S8", "S9") for word in ("--row", row)]
    done = producer("tour", *chosen, "--json")

    rows = {row["row"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0, done.stderr
    assert len(rows) == 7
    assert all(row["ok"] for row in rows.values())
    assert rows["S2"]["cluster_s"] >= 4
    assert 1 < rows["S2"]["pids"] <= 8


def status():
    return {row["pool"]: row for row in json.loads(producer("status", "--json").stdout)}


def wait_for_state(task_id, state):
    # Not with a command of its own for each look: a state may last less than that takes.
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    key = f"celery-task-meta-{task_id}"
    wait_until(lambda: f'"{state}"' in str(client.get(key)), what=f"the state {state}")


@pytest.mark.parametrize("pool", list(PoolKind))
def test_an_outcome_waits_while_redis_has_no_room_for_it(stack, pool):
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    sent = producer("send", "sleep", "2", "--pool", pool.value, "--json")
    task_id = json.loads(sent.stdout)["ids"][0]
    wait_for_state(task_id, "STARTED")
    refused = refusals(client)
    client.config_set("maxmemory", 1)
    try:
        wait_until(lambda: refusals(client) > refused, what="a refused outcome")
    finally:
        client.config_set("maxmemory", 0)

    wait_for_state(task_id, "SUCCESS")


def refusals(client):
    """How often an outcome was refused; leases and the like are written by scripts."""
    return client.info("commandstats").get("cmdstat_setex", {}).get("rejected_calls", 0)


@pytest.mark.parametrize("key", ["order 17", str(uuid.UUID(int=17))])
def test_what_is_sent_twice_under_one_key_is_sent_once(idle_redis, key):
    url, client = idle_redis

    first, second = (
        producer("send", "sleep", "0", "--id", key, "--json", REDIS_URL=url) for _ in range(2)
    )

    first, second = json.loads(first.stdout), json.loads(second.stdout)
    assert (first["count"], first["repeated"]) == (1, False)
    assert (second["count"], second["repeated"]) == (0, True)
    assert first["ids"] == second["ids"]
    assert client.llen("threads") == 1


def test_who_repeats_a_key_gets_the_first_ones_result(stack):
    key = uuid.uuid4().hex
    words = ("send", "printcount", "4", "--id", key, "--wait", "--json", "--timeout", "30")

    first, second = (json.loads(producer(*words).stdout) for _ in range(2))

    assert first["result"] == second["result"]
    assert first["id"] == second["id"]


def test_a_full_queue_accepts_no_key_and_forgets_none(idle_redis):
    url, client = idle_redis
    client.lpush("threads", "in the way")
    words = ("send", "sleep", "0", "--id", "late", "--when-full", "stop")

    full = producer(*words, REDIS_URL=url, QUEUE_LIMIT="1")
    client.delete("threads")
    now = producer(*words, REDIS_URL=url, QUEUE_LIMIT="1")

    assert full.returncode == 1
    assert now.returncode == 0
    assert client.llen("threads") == 1


def test_one_key_for_many_tasks_is_refused(stack):
    done = producer("send", "sleep", "0", "--id", "mine", "--count", "2")

    assert done.returncode == 2
    assert "--id 'mine'" in done.stderr


def counted(pool):
    """How many tasks of a pool ended well, and how many did not."""
    return tuple(int(store().hget("counts", f"{pool}:{how}") or 0) for how in ("done", "failed"))


@pytest.mark.parametrize("pool", list(PoolKind))
def test_a_task_that_takes_too_long_fails_at_its_limit_and_stays_failed(stack, pool):
    words = ("sleep", "3", "--pool", pool.value, "--time-limit", "0.7")
    before = counted(pool)

    done = producer("send", *words, "--wait", "--json", "--timeout", "30")

    outcome = json.loads(done.stdout)
    assert done.returncode == 1
    assert outcome["state"] == "FAILURE"
    assert "TimeLimitExceeded" in outcome["error"]
    shown = json.loads(producer("dead", "show", outcome["id"], "--json").stdout)
    assert "TimeLimitExceeded" in shown["reason"]
    if pool is PoolKind.THREADS:
        # The thread goes on to its end; what it gives then changes nothing.
        log = stack.folder / "threads.log"
        late = f"{outcome['id']} has ended now, too late"
        wait_until(lambda: late in log.read_text(), what="the end of the late task")
        assert json.loads(producer("result", outcome["id"], "--json").stdout)["state"] == "FAILURE"
    if pool is not PoolKind.PREFORK:  # where the process that counts is killed
        wait_until(lambda: counted(pool) == (before[0], before[1] + 1))
    assert producer("dead", "drop", outcome["id"]).returncode == 0


def test_no_thread_waits_for_the_deadline_of_what_has_ended(stack):
    (pid,) = (worker.pid for worker in presence.workers() if worker.pool == PoolKind.THREADS)
    words = ("sleep", "0", "--pool", "threads", "--time-limit", "600", "--count", "200")

    done = producer("send", *words, "--wait", "--timeout", "30")

    assert done.returncode == 0
    # Its places, and what it has beside them.
    assert psutil.Process(pid).num_threads() < 100


PROGRAM = """
import worker.celery
from worker.tasks import sleep
assert sleep._prepared({}) is not None
results = [sleep.delay(0.1)]
results += [sleep.apply_async((0,), queue=queue) for queue in ("prefork", "threads", "gevent")]
print([result.get(timeout=20) for result in results])
"""


def test_a_program_of_celerys_sends_and_gets_its_results(stack):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert done.stdout == "[0.1, 0, 0, 0]\n", done.stderr

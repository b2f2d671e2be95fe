"""Periodic tasks: what can be added, and that each is sent once, whoever is killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from producer import known, schedules
from producer.arguments import WrongUsage
from shared.broker import keys
from shared.broker.connections import store
from tests.integration.test_producer import producer
from tests.support import patient, wait_until

QUEUE = "schedule-test"  # that nobody consumes: what was sent can be counted


@pytest.fixture
def schedule(stack):
    """An empty schedule."""
    forget()
    yield
    forget()


def forget():
    for key in store().scan_iter(f"{keys.SCHEDULE_ENTRY}*"):
        store().delete(key)
    store().delete(QUEUE)


def add(name, every=1):
    contract, _ = known.find("sleep")
    return schedules.add(name, schedules.every(every), contract, QUEUE, [0], {})


@contextlib.contextmanager
def beats(number):
    """So many schedulers, and how to start another; all are killed in the end."""
    running = []

    def start():
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker", "beat", "--pidfile", ""],
                env={**os.environ, "HEALTH_FILE": ""},
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        )
        return running[-1]

    for _ in range(number):
        start()
    try:
        yield running, start
    finally:
        for process in running:
            process.kill()
            process.wait()


def sent():
    """When each message was sent, oldest first."""
    messages = map(json.loads, reversed(store().lrange(QUEUE, 0, -1)))
    return [message["headers"]["sent_at"] for message in messages]


def test_a_task_is_added_listed_and_removed(schedule):
    added = producer("schedule", "add", "--every", "3600", "hourly", "count_steps", "--steps", "3")
    crontab = producer("schedule", "add", "--cron", "30 2 * * 1-5", "nightly", "sleep", "1")
    listed = json.loads(producer("schedule", "list", "--json").stdout)
    removed = producer("schedule", "remove", "hourly")

    assert added.returncode == crontab.returncode == removed.returncode == 0, added.stderr
    assert {row["name"]: (row["task"], row["when"], row["queue"]) for row in listed} == {
        "hourly": ("count_steps", "every 3600 s", "prefork"),
        "nightly": ("sleep", "30 2 * * 1-5", "threads"),
    }
    assert listed[-1]["arguments"] in ("1.0", "steps=3")
    assert all(row["last_run"] is None for row in listed)
    assert [row.name for row in schedules.rows()] == ["nightly"]
    assert "no scheduler is alive" in added.stderr


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--cron", "* * *", "x", "sleep", "1"], 2, "3 fields"),
        (["--cron", "61 * * * *", "x", "sleep", "1"], 2, "'61 * * * *'"),
        (["--cron", "a b c d e", "x", "sleep", "1"], 2, "'a b c d e'"),
        (["--cron", "0 0 31 2 *", "x", "sleep", "1"], 2, "'0 0 31 2 *'"),
        (["--every", "0", "x", "sleep", "1"], 2, "--every 0"),
        (["--every", "nan", "x", "sleep", "1"], 2, "--every nan"),
        (["--every", "1e99", "x", "sleep", "1"], 2, "--every 1e+99"),
        (["--every", "5", "--cron", "* * * * *", "x", "sleep", "1"], 2, "one of"),
        (["x", "sleep", "1"], 2, "one of"),
        (["--every", "5", "x", "slep", "1"], 2, "did you mean 'sleep'"),
        (["--every", "5", "x", "sleep", "abc"], 2, "seconds='abc'"),
        (["--every", "5", "x", "sleep"], 2, "seconds"),
        (["--every", "5", ":schedule", "sleep", "1"], 2, "':schedule'"),
        (["--every", "5", "taken", "sleep", "1"], 1, "'taken' is in the schedule already"),
    ],
)
def test_what_cannot_be_scheduled_is_one_line_and_nothing_is_stored(schedule, words, status, says):
    add("taken")
    before = {key: store().dump(key) for key in store().scan_iter(f"{keys.SCHEDULE_ENTRY}*")}

    done = producer("schedule", "add", *words)

    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    after = {key: store().dump(key) for key in store().scan_iter(f"{keys.SCHEDULE_ENTRY}*")}
    assert after == before


@pytest.mark.parametrize("name", ["taken", ":schedule", ""])
def test_a_name_that_the_schedule_has_not_is_one_line(schedule, name):
    add("token")

    done = producer("schedule", "remove", name)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert [row.name for row in schedules.rows()] == ["token"]


@pytest.mark.parametrize(
    ("text", "at", "next_at"),
    [
        ("*/15 * * * *", (2026, 3, 1, 10, 7), (2026, 3, 1, 10, 15)),
        ("30 2 * * *", (2026, 3, 1, 10, 7), (2026, 3, 2, 2, 30)),
        ("0 0 1 * *", (2026, 3, 1, 10, 7), (2026, 4, 1, 0, 0)),
        ("0 9 * * mon", (2026, 3, 1, 10, 7), (2026, 3, 2, 9, 0)),
    ],
)
def test_the_five_fields_mean_what_they_mean_to_cron(text, at, next_at):
    at, next_at = (datetime(*moment, tzinfo=UTC) for moment in (at, next_at))
    found = schedules.cron(text)
    found.nowfun = lambda: at

    assert at + found.remaining_estimate(at) == next_at


def test_killed_schedulers_and_two_at_once_send_each_time_once(schedule):
    every_s = 2
    add("tick", every=every_s)

    with beats(2) as (running, start):
        for _ in range(2):
            seen = len(sent())
            wait_until(lambda seen=seen: len(sent()) >= seen + 2, within_s=30, what="two more")
            for process in running[-2:]:
                process.send_signal(signal.SIGKILL)
            start()
            start()
        seen = len(sent())
        wait_until(lambda: len(sent()) >= seen + 3, within_s=30, what="three more")
        times = sent()

    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) > every_s * 0.9, gaps
    # A killed scheduler's followers have to start first.
    assert max(gaps) < every_s * 2 + patient(6), gaps
    (row,) = schedules.rows()
    assert row.runs == len(times)


def test_a_scheduler_that_slept_through_its_turn_sends_nothing_twice(schedule):
    add("tick")

    with beats(2) as (running, _):
        wait_until(lambda: len(sent()) >= 2, within_s=30, what="two are sent")
        for _ in range(3):
            running[0].send_signal(signal.SIGSTOP)
            time.sleep(1.5)
            running[0].send_signal(signal.SIGCONT)
        times = sent()

    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) > 0.9, gaps


@pytest.mark.parametrize(
    ("definition", "meta"),
    [
        ("", ""),
        ("{", "{}"),
        ("[]", "[]"),
        ('{"name": 5}', '{"last_run_at": "yesterday"}'),
        ('{"name": "x", "task": null, "schedule": {"__type__": "crontab", "a": 1}}', "{}"),
        ('{"name": "x", "task": [], "schedule": 5, "args": 7}', '{"last_run_at": null}'),
    ],
)
def test_an_odd_entry_keeps_no_other_from_being_sent_or_listed(schedule, definition, meta):
    store().hset(f"{keys.SCHEDULE_ENTRY}odd", mapping={"definition": definition, "meta": meta})
    store().zadd(keys.SCHEDULE, {f"{keys.SCHEDULE_ENTRY}odd": 1})
    add("tick")

    listed = {row.name for row in schedules.rows()}
    with beats(1):
        wait_until(lambda: len(sent()) >= 2, within_s=30, what="two are sent")

    assert "tick" in listed
    assert len(listed) == 2


def test_an_entry_that_is_removed_is_sent_no_more(schedule):
    add("tick")

    with beats(1):
        wait_until(sent, within_s=30, what="one is sent")
        schedules.remove("tick")
        seen = len(sent())
        time.sleep(3)

    assert len(sent()) == seen


def test_a_plain_function_can_be_scheduled(schedule):
    contract, queue = known.find("tests.integration.own_tasks:plain")
    schedules.add("function", schedules.every(1), contract, queue, [3], {"y": 4})

    (row,) = schedules.rows()

    assert (row.task, row.arguments) == ("tests.integration.own_tasks:plain", "3 y=4")


def test_arguments_that_json_has_no_type_for_are_refused(schedule):
    contract, _ = known.find("sleep")

    with pytest.raises(WrongUsage, match="kept in the schedule"):
        schedules.add("x", schedules.every(1), contract, QUEUE, [object()], {})


def test_the_stack_starts_a_scheduler_when_asked_to(tmp_path):
    words = ("stack", "--beat", "--", "producer", "schedule", "add", "--every", "9", "x", "sleep")

    done = producer(*words, "0", TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert "x: sleep on threads, every 9 s" in done.stdout
    assert "no scheduler is alive" not in done.stderr

"""A short form of `make chaos`: things are killed, and every task is accounted for."""

import datetime
import signal
import time

import psutil
import pytest

from tests.chaos import answers, faults, hostile
from tests.chaos.bench import QUEUE, Bench, stop
from tests.support import patient, wait_until

POOLS = ("prefork", "threads", "gevent")


@pytest.mark.parametrize("pool", POOLS)
def test_a_killed_worker_loses_nothing_and_its_tasks_are_back_in_time(pool):
    report = faults.kill_workers(pool, 3)

    assert report.lost == 0
    assert report.again == 0
    assert report.twice <= report.times * report.slots
    assert report.recovery_s < patient(15)


@pytest.mark.parametrize("pool", POOLS)
def test_what_a_paused_worker_held_is_run_by_another(pool):
    report = faults.pause_worker(pool)

    assert report.lost == 0
    assert report.again == 0
    assert report.twice <= report.slots


@pytest.mark.parametrize(
    ("fault", "pool"),
    [
        (faults.kill_redis, "threads"),
        (faults.kill_redis, "gevent"),
        (faults.cut_connections, "prefork"),
        (faults.cut_connections, "gevent"),
    ],
)
def test_a_lost_broker_loses_nothing(fault, pool):
    report = fault(pool, 2)

    assert report.lost == 0
    assert report.again == 0
    assert report.dead == 0


def test_an_answer_that_means_not_now_loses_nothing_and_ends_no_worker():
    report = faults.say_not_now(POOLS, answers.ALL, 1.0)

    assert report.lost == 0
    assert report.twice == 0
    assert report.dead == 0


def test_a_cut_network_loses_nothing_and_all_workers_answer_afterwards():
    report = faults.cut_network(POOLS, 8.0)

    assert report.lost == 0
    assert report.again == 0
    assert report.dead == 0


def test_a_slow_redis_loses_nothing_and_repeats_nothing():
    report = faults.slow_redis(POOLS, 0.1)

    assert report.lost == 0
    assert report.twice == 0
    assert report.dead == 0


def test_a_killed_producer_that_goes_on_sends_every_task_once():
    report = faults.kill_producers("threads", 2)

    assert report.lost == 0
    assert report.twice == 0


def test_a_killed_pool_process_loses_nothing():
    report = faults.kill_children(4)

    assert report.lost == 0
    assert report.again == 0


def test_a_task_that_kills_its_process_is_delivered_three_times_and_then_dead():
    with Bench() as bench:
        bench.worker("prefork", 2)
        bench.send(1, task="poison")
        wait_until(lambda: bench.client.zcard("dead"), 60, "the dead letter")

        assert int(bench.notes.get("poisoned")) == 3
        (letter,) = bench.letters()
        assert letter["task"] == "poison"
        assert letter["reason"] == "its worker was lost 3 times"
        assert [loss["worker"].split("@")[0] for loss in letter["deliveries"]] == ["prefork"] * 3
        assert bench.account()["taken"] == 0


def test_a_task_that_kills_its_whole_worker_is_delivered_three_times_and_then_dead():
    with Bench(lease_s=1.0) as bench:
        bench.send(1, task="poison")
        for _ in range(3):
            worker = bench.worker("threads", 2)
            assert worker.wait(patient(60)) == -signal.SIGKILL
            bench.workers.remove(worker)
        bench.worker("gevent", 2)
        wait_until(lambda: bench.client.zcard("dead"), 30, "the dead letter")

        assert int(bench.notes.get("poisoned")) == 3


def test_a_task_that_takes_longer_than_the_lease_runs_once():
    with Bench(lease_s=1.0) as bench:
        for pool in POOLS:
            bench.worker(pool, 1)
        for _ in POOLS:
            bench.send(1, seconds=5)
        wait_until(lambda: bench.done() == 3, 60, "the long tasks")

        assert bench.account()["twice"] == 0


def test_a_worker_goes_on_however_often_its_lease_is_lost():
    with Bench(lease_s=1.0) as bench:
        # Where the lease is renewed by a thread beside all greenlets.
        worker = bench.worker("gevent", 4)
        # Full now and then: either its next take tells it, or the renewal of its lease.
        bench.send(60, seconds=0.4)
        wait_until(bench.done, 30, "a first task")
        for _ in range(15):
            for owner in bench.client.zrange("owners", 0, -1):
                pipe = bench.client.pipeline(transaction=True)
                pipe.zrem("owners", owner)
                pipe.srem("owners:names", owner)
                pipe.sadd("buried", owner)
                pipe.execute()
            bench.send(50)
            time.sleep(bench.random.uniform(0.3, 0.6))
        wait_until(lambda: not bench.client.llen(QUEUE) and not bench.taken(), 30, "the rest")

        assert bench.account()["lost"] == 0
        assert "no outcome of it counts" in bench.log_of(worker)
        assert "Traceback" not in bench.log_of(worker)


def test_no_part_of_a_message_can_stop_a_worker():
    with Bench(lease_s=60.0) as bench:
        workers = [bench.worker(pool, 4) for pool in POOLS]
        wait_until(lambda: len(bench.ping()) == len(POOLS), 30, "all workers")
        for text in hostile.messages(bench.random, 400):
            bench.client.lpush(QUEUE, text)
        bench.send(60, seconds=0.01)
        wait_until(lambda: bench.done() >= bench.sent, 60, "the tasks behind them")
        # A message that the pool of a worker never ended would be there until its lease ends.
        wait_until(lambda: not bench.taken(), 20, "the acknowledgements")

        assert [worker.poll() for worker in workers] == [None] * len(POOLS)
        assert len(bench.letters()) > 100


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_what_waited_for_its_time_in_a_paused_worker_runs_once(pool):
    with Bench(lease_s=2.0) as bench:
        paused = bench.worker(pool, 4)
        bench.send(1)
        wait_until(bench.done, 30, "a first task")
        due = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=12)
        bench.send(3, eta=due)
        wait_until(lambda: bench.account()["taken"] == 3, 5, "the taking")
        other = bench.worker(pool, 4)
        stop(paused)
        wait_until(lambda: bench.log_of(other).count("received") == 3, 20, "the other worker")
        stop(paused, signal.SIGCONT)
        wait_until(lambda: "no outcome of it counts" in bench.log_of(paused), 10, "the news")
        assert bench.done() == 1
        bench.send(8)
        wait_until(lambda: bench.done() == bench.sent, 20, "the rest")
        wait_until(lambda: bench.account()["taken"] == 0, 5, "the acknowledgements")
        # Both may still take as much as at the beginning.
        bench.kill(other)
        bench.send(4, seconds=2)
        wait_until(lambda: bench.account()["taken"] == 4, 10, "room in the first")
        wait_until(lambda: bench.done() == bench.sent, 20, "the end")

        assert bench.account()["twice"] == 0


@pytest.mark.parametrize("pool", POOLS)
def test_sigterm_finishes_what_runs_and_returns_the_rest(pool):
    with Bench() as bench:
        worker = bench.worker(pool, 2)
        bench.send(20, seconds=0.3)
        wait_until(bench.done, 30, "a first task")

        worker.terminate()
        assert worker.wait(patient(30)) == 0

        account = bench.account()
        assert account["lost"] == account["taken"] == account["twice"] == 0
        assert account["queued"] + account["done"] == 20
        assert account["queued"] > 0
        assert bench.client.zcard("owners") == 0


def test_a_thousand_greenlets_acknowledge_everything():
    with Bench() as bench:
        worker = bench.worker("gevent", 1_000)
        bench.send(3_000, seconds=0.2)
        wait_until(lambda: bench.done() == 3_000, 90, "the tasks")
        wait_until(lambda: not bench.account()["taken"], 10, "the acknowledgements")

        log = bench.log_of(worker)
        assert "ERROR" not in log
        assert "CRITICAL" not in log


def test_waiting_costs_next_to_nothing():
    with Bench() as bench:
        worker = bench.worker("threads", 2)
        bench.send(1)
        wait_until(bench.done, 30, "a first task")
        process = psutil.Process(worker.pid)
        began, before = sum(process.cpu_times()[:2]), bench.commands()
        time.sleep(5)  # nothing is waited for: this is the time that is measured

        assert sum(process.cpu_times()[:2]) - began < 0.5
        assert bench.commands("eval") - before <= 25
        assert bench.commands("brpop") == 0

        bench.send(1)
        wait_until(lambda: bench.done() == 2, 2, "the task")


def test_messages_of_a_higher_priority_are_taken_first_and_wake_a_worker():
    with Bench() as bench:
        bench.worker("threads", 1)
        bench.send(1)
        wait_until(bench.done, 30, "a first task")

        bench.send(1, queue=f"{QUEUE}\x06\x163")
        wait_until(lambda: bench.done() == 2, 2, "the task on a list of another priority")


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_news_that_comes_while_nothing_was_asked_costs_no_connection(pool):
    with Bench() as bench:
        worker = bench.worker(pool, 2)
        bench.send(1)
        wait_until(bench.done, 30, "a first task")
        # At about the pace at which they are done: it is full and idle by turns.
        for _ in range(1_500):
            bench.send(1, seconds=0.002)
            time.sleep(bench.random.uniform(0, 0.004))
        wait_until(lambda: bench.done() == bench.sent, 30, "the rest")

        assert "Connection to broker lost" not in bench.log_of(worker)

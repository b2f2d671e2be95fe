"""A worker that is busy is not dead: what a task that holds the GIL must not cost anybody."""

import time

import psutil
import pytest

from tests.chaos.bench import Bench
from tests.chaos.renewers import renewers
from tests.support import leased, wait_until

LEASE_S = 1.0


@pytest.mark.parametrize(
    ("pool", "how"), [("threads", "computes"), ("gevent", "computes"), ("threads", "waits")]
)
def test_a_task_that_holds_the_gil_for_three_leases_runs_once_and_so_do_its_neighbours(
    pool, how, tmp_path
):
    health = tmp_path / "health"
    variables = {
        "LOCK_LEASE_S": str(leased(LEASE_S)),
        "HEALTH_FILE": str(health),
        "HEALTH_INTERVAL_S": "1",
    }
    with Bench(lease_s=LEASE_S, **variables) as bench:
        busy = bench.worker(pool, 12)
        # The neighbours are in the midst of their work all the time.
        bench.send(8, seconds=1)
        bench.send(1, task="busy", arguments=[9, 3 * bench.lease_s, how, "lock:chaos"])
        wait_until(lambda: bench.notes.llen("story") == 1, 30, "the busy task")
        began = time.monotonic()
        bench.send(1, task="grab", arguments=[10, "lock:chaos"])
        other = bench.worker(pool, 12)
        wait_until(lambda: bench.notes.llen("story") >= 2, 60, "the end of the busy task")
        held_s = time.monotonic() - began
        age_s = time.time() - health.stat().st_mtime
        wait_until(lambda: bench.done() == 10, 30, "all tasks")
        wait_until(lambda: not bench.taken(), 10, "the acknowledgements")

        assert held_s > 2 * bench.lease_s, "the other worker had no time to see the lease end"
        assert bench.account()["twice"] == 0
        assert bench.letters() == []
        assert int(bench.client.hget("counts", "leases:lost") or 0) == 0
        assert bench.notes.lrange("story", 0, -1) == [b"9 begins", b"9 ends", b"10 has the lock"]
        assert [worker.poll() for worker in (busy, other)] == [None, None]
        if how == "computes":
            assert age_s < 2.5


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_renewer_that_is_killed_is_replaced_and_ends_with_its_worker(pool):
    with Bench(lease_s=1.0) as bench:
        worker = bench.worker(pool, 2)
        bench.send(1)
        wait_until(bench.done, 30, "a first task")
        (renewer,) = renewers(worker)

        renewer.kill()
        wait_until(lambda: renewers(worker) not in ([], [renewer]), 10, "another one")
        (other,) = renewers(worker)
        assert not renewer.is_running(), "it is a zombie"

        psutil.Process(worker.pid).kill()
        wait_until(lambda: not other.is_running(), 10, "its end")


def test_the_renewer_is_told_no_password_by_arguments_or_environment():
    with Bench(lease_s=1.0) as bench:
        worker = bench.worker("threads", 1)
        bench.send(1)
        wait_until(bench.done, 30, "a first task")
        (renewer,) = renewers(worker)

        assert [word for word in renewer.cmdline() if "redis" in word.lower()] == []
        assert [key for key in renewer.environ() if "REDIS" in key] == []

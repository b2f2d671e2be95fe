"""How processes end: no thread of theirs is in Redis any more, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from shared.broker import recovery
from tests.chaos import faults
from tests.chaos.bench import QUEUE, Bench
from tests.support import ROOT, patient, wait_until


@pytest.mark.parametrize(
    ("pool", "lease_s"), [("prefork", 10.0), ("threads", 0.4), ("gevent", 0.4)]
)
def test_workers_that_are_stopped_end_in_order_and_lose_nothing(pool, lease_s):
    report = faults.stop_workers(pool, 4, lease_s=lease_s, waiting=5)

    assert report.crashes == 0
    assert report.lost == 0
    assert report.dead == 0
    if lease_s > 1:
        assert report.twice == 0, "what has an outcome was returned"


CLIENT = """
import atexit, threading

def tell():
    print([t.name for t in threading.enumerate() if t is not threading.main_thread()], flush=True)

atexit.register(tell)  # the first to be registered is the last that is called

from shared.futures import ProcessPoolExecutor
from shared.multiprocessing import Lock, Pool, Process, Queue
from tests.integration import functions

if __name__ == "__main__":
    queue, lock = Queue(), Lock()
    queue.put(1)
    process = Process(target=functions.add, args=(1, 2), kind="threads")
    process.start()
    process.join()
    pool = Pool(2)
    left = pool.map_async(functions.slow, [30.0] * 4)
    with lock:
        pass
    {ending}
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("raise ValueError('this one')", 1)],
)
def test_a_client_leaves_no_thread_behind_when_its_interpreter_ends(stack, ending, status):
    done = run(CLIENT.replace("{ending}", ending))

    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1] in ("[]", "['pool-feeder']")


EXECUTOR = """
import sys, threading
from shared.futures import ProcessPoolExecutor
from shared.multiprocessing import Pool, Process
from tests.integration.process_functions import tick

def noted(function):
    try:
        function()
    finally:
        print("cleaned up", flush=True)

def executor():
    with ProcessPoolExecutor(2) as executor:
        executor.submit(tick, path).result()

def executor_without_with():
    ProcessPoolExecutor(2).submit(tick, path).result()

def pool():
    Pool(2).apply_async(tick, (path,)).get()

def pool_in_a_thread():
    pools = Pool(2)
    thread = threading.Thread(target=pools.apply, args=(tick, (path,)))
    thread.start()
    thread.join()

def process():
    one = Process(target=tick, args=(path,))
    one.start()
    one.join()

if __name__ == "__main__":
    path = sys.argv[1]
    noted(globals()[sys.argv[2]])
"""
RUN = """
import sys
from multiprocessing import Pool

def tick(path):
    from tests.integration.process_functions import tick
    tick(path)

if __name__ == "__main__":
    with Pool(2) as pool:
        pool.apply(tick, (sys.argv[1],))
"""


def size(path):
    return path.stat().st_size if path.exists() else 0


def wait_for_silence(path, within_s=20):
    """Until nothing ticks any more; it ticks ten times a second."""
    seen = [(time.monotonic(), size(path))]

    def silent():
        now = size(path)
        if now != seen[0][1]:
            seen[0] = (time.monotonic(), now)
        return time.monotonic() - seen[0][0] > 1.5

    wait_until(silent, within_s, "silence")


def as_from_a_terminal():
    """The signals as a shell gives them to a program."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("signum", "what"),
    [
        (signal.SIGTERM, "executor"),
        (signal.SIGTERM, "executor_without_with"),
        (signal.SIGTERM, "pool"),
        (signal.SIGTERM, "pool_in_a_thread"),
        (signal.SIGTERM, "process"),
        (signal.SIGHUP, "executor"),
        (signal.SIGINT, "executor"),
        (signal.SIGINT, "executor_without_with"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_signal_to_a_client_ends_what_it_has_sent(stack, tmp_path, signum, what):
    path = tmp_path / "ticks"
    client = subprocess.Popen(
        [sys.executable, "-c", EXECUTOR, str(path), what],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_from_a_terminal,
    )
    wait_until(lambda: size(path), 30, "the task")

    client.send_signal(signum)
    said, complained = client.communicate(timeout=patient(20))

    assert client.returncode == -signum
    assert said == "cleaned up\n"
    if (signum, what) != (signal.SIGTERM, "pool_in_a_thread") and signum != signal.SIGINT:
        assert complained == ""
    wait_for_silence(path)


def test_sigterm_to_producer_run_ends_what_its_script_has_sent(stack, tmp_path):
    path, script = tmp_path / "ticks", ROOT / "examples" / "endless_for_a_test.py"
    script.write_text(RUN)
    try:
        client = subprocess.Popen(
            [sys.executable, "-m", "producer", "run", str(script), str(path)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=as_from_a_terminal,
        )
        wait_until(lambda: size(path), 30, "the task")

        client.terminate()
        complained = client.communicate(timeout=patient(20))[1]
    finally:
        script.unlink()

    assert client.returncode == -signal.SIGTERM
    assert complained == ""
    wait_for_silence(path)


OWN = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("mine", flush=True), sys.exit(7)))
before = signal.getsignal(signal.SIGHUP)
import shared.futures, shared.multiprocessing.process
assert signal.getsignal(signal.SIGHUP) is before, "an import changed it"
with shared.futures.ProcessPoolExecutor(1) as executor:
    executor.submit(abs, -1).result()
    signal.raise_signal(signal.SIGTERM)
"""


def test_a_clients_own_handler_stays_in_force(stack):
    done = run(OWN)

    assert (done.returncode, done.stdout) == (7, "mine\n"), done.stderr


CHILD = """
import multiprocessing, time
from shared.multiprocessing import Pool

def doze(here):
    here.send("begun")  # before this, Python itself may drop a signal
    time.sleep(60)

if __name__ == "__main__":
    pool = Pool(1)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=doze, args=(theirs,))
    child.start()
    ours.recv()
    child.terminate()
    child.join()
    print(child.exitcode)
"""


def test_a_local_child_of_a_client_ends_by_the_signal_itself(stack):
    done = run(CHILD)

    assert done.stdout == f"{-signal.SIGTERM}\n", done.stderr


def run(script):
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
        preexec_fn=as_from_a_terminal,
    )


def test_what_has_an_outcome_does_not_go_back_when_its_worker_is_stopped():
    with Bench() as bench:
        bench.send(2)
        texts = bench.client.lrange(QUEUE, 0, -1)
        bench.client.delete(QUEUE)
        bench.client.hset("taken:one", mapping={n: b"chaos\n" + t for n, t in enumerate(texts)})
        task_id = json.loads(texts[0])["headers"]["id"]
        bench.client.set(f"celery-task-meta-{task_id}", '{"status": "SUCCESS"}')

        recovery.give_all_back(bench.client, "one")

        assert bench.client.lrange(QUEUE, 0, -1) == texts[1:]
        assert bench.client.hlen("taken:one") == 0

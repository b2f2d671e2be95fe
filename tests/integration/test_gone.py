"""A client whose Redis is gone for good is told so; one whose Redis comes back goes on."""

import os
import subprocess
import sys
import threading
import time

import pytest
from kombu.exceptions import OperationalError

from examples.own_tasks import count_words
from shared import futures, multiprocessing
from shared.app import app
from shared.errors import BrokerGone
from shared.pools import PoolKind
from tests.chaos.bench import Bench
from tests.conftest import forget_settings
from tests.integration import functions as f
from tests.support import patient, wait_until

GONE_S = 1.5
LONG_S = patient(30)  # a deadline, not a duration


@pytest.fixture
def bench(monkeypatch):
    """A Redis without workers, to which this process connects."""
    with Bench(persistent=True) as running:
        monkeypatch.setenv("REDIS_URL", f"{running.url}/0")
        monkeypatch.setenv("REDIS_GONE_S", str(GONE_S))
        monkeypatch.setenv("TASK_MODULES", "examples,tests.integration")
        monkeypatch.delenv("REDIS_PASSWORD_FILE", raising=False)
        forget_settings()
        yield running
    monkeypatch.undo()
    forget_settings()


def test_all_that_a_pool_accepted_fails_when_redis_is_gone(bench):
    pool = multiprocessing.Pool(2)
    results = [pool.map_async(f.double, range(1_000), 1), pool.apply_async(f.double, (1,))]
    values = pool.imap(f.double, range(1_000))
    wait_until(lambda: bench.client.llen(PoolKind.PREFORK.value) == 2, what="the push")
    since = time.monotonic()

    bench.kill_redis()

    for result in results:
        with pytest.raises(BrokerGone) as gone:
            result.get(LONG_S)
        assert isinstance(gone.value, ConnectionError)
        assert f"127.0.0.1:{bench.port}" in str(gone.value)
    with pytest.raises(BrokerGone):
        values.next(LONG_S)
    assert time.monotonic() - since > GONE_S
    pool.close()
    pool.join()
    assert time.monotonic() - since < LONG_S


@pytest.mark.parametrize(
    "send",
    [
        lambda: count_words.delay("a"),
        lambda: count_words.apply_async(("a",), countdown=1),
        lambda: app.send_task(count_words.name, ["a"]),
    ],
    ids=["delay", "apply_async", "send_task"],
)
def test_sending_does_not_wait_as_long_as_reading_a_result(bench, monkeypatch, send):
    monkeypatch.setenv("REDIS_GONE_S", "15")
    forget_settings()
    # That of a client. Another test in this process may have imported a worker's.
    policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0.2}
    monkeypatch.setitem(app.conf.changes, "task_publish_retry_policy", policy)
    bench.kill_redis()

    with pytest.raises(OperationalError):
        send()


def test_a_future_fails_and_its_executor_can_be_left(bench):
    with futures.ProcessPoolExecutor(1) as executor:
        future = executor.submit(f.double, 1)
        wait_until(lambda: bench.client.llen(PoolKind.PREFORK.value) == 1, what="the push")

        bench.kill_redis()

        assert isinstance(future.exception(LONG_S), BrokerGone)


def test_processes_end_with_1_and_one_line_for_all(bench, capfd):
    processes = [multiprocessing.Process(target=f.double, args=(1,)) for _ in range(3)]
    for process in processes:
        process.start()

    bench.kill_redis()
    for process in processes:
        process.join(LONG_S)

    assert [process.exitcode for process in processes] == [1, 1, 1]
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"Redis at 127.0.0.1:{bench.port} does not answer (for ")


SCRIPTS = {
    "results": "multiprocessing.Pool(2).map(printcount, range(20))",
    "futures": "print(list(ProcessPoolExecutor().map(printcount, range(20))))",
    "processes": """for process in [multiprocessing.Process(target=printcount, args=(i,)) for i in "ab"]:
        process.start()
    process.join()""",
}


@pytest.mark.parametrize("waits_for", SCRIPTS)
def test_a_script_ends_with_one_line_and_exit_1(bench, tmp_path, waits_for):
    script = tmp_path / "waiting.py"
    script.write_text(
        "import multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "def printcount(count):\n    return count\n"
        f"if __name__ == '__main__':\n    {SCRIPTS[waits_for]}\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "producer", "run", str(script)],
        env={**os.environ, "TASK_MODULES": "waiting"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: bench.client.llen(PoolKind.PREFORK.value) >= 2, what="the push")

    bench.kill_redis()
    output, said = running.communicate(timeout=LONG_S)

    lines = [line for line in said.splitlines() if "no worker is alive" not in line]
    assert running.returncode == 1
    assert output == ""
    assert len(lines) == 1, said
    assert f"Redis at 127.0.0.1:{bench.port} does not answer (for " in lines[0]


def test_what_is_sent_while_redis_is_away_is_there_when_it_is_back(bench, monkeypatch):
    monkeypatch.setenv("REDIS_GONE_S", "60")
    forget_settings()
    pool = multiprocessing.Pool(3)
    bench.kill_redis()

    results = [pool.apply_async(f.double, (number,)) for number in range(3)]
    time.sleep(GONE_S)  # nothing is waited for: this is how long it is away
    assert not any(result.ready() for result in results)
    bench.start_redis()

    wait_until(lambda: bench.client.llen(PoolKind.PREFORK.value) == 3, what="the push")
    pool.terminate()
    pool.join()
    assert not [thread for thread in threading.enumerate() if thread.name == "pool-feeder"]

"""`producer stack`: everything starts, a command runs with it, and nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
import pytest

STACK = [sys.executable, "-m", "producer", "stack"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def marked():
    """An environment whose processes can be found again, and a folder for temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        mark = uuid.uuid4().hex
        yield {**os.environ, "DAY_SIX_TEST_MARK": mark, "TMPDIR": folder}
        left = processes(mark)
        for process in left:
            process.kill()
        assert not left
        assert os.listdir(folder) == []


def processes(mark):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DAY_SIX_TEST_MARK") == mark and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(true, seconds=30, what="it"):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)


def gone(environment):
    return lambda: (
        not processes(environment["DAY_SIX_TEST_MARK"]) and os.listdir(environment["TMPDIR"]) == []
    )


def test_a_command_runs_with_the_stack_and_its_exit_status_comes_back(marked):
    script = "import os, sys; print(os.environ['REDIS_URL'], os.environ['FLOWER_URL']); sys.exit(7)"

    done = subprocess.run(
        [*STACK, "--", sys.executable, "-c", script],
        env=marked,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 7
    redis_url, flower_url = done.stdout.split()
    assert redis_url.startswith("redis://:")
    assert flower_url.startswith("http://127.0.0.1:")
    assert gone(marked)()


def test_the_callers_environment_reaches_the_workers(marked, tmp_path):
    (tmp_path / "mine.py").write_text("import os\ndef answer(): return os.environ['MY_ANSWER']\n")
    script = (
        "import mine\n"
        "from shared import multiprocessing\n"
        "print([multiprocessing.Pool(1, kind=k).apply(mine.answer) for k in ('prefork', 'threads', 'gevent')])"
    )
    environment = {
        **marked,
        "TASK_MODULES": "mine",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "MY_ANSWER": "42",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    done = subprocess.run(
        [*STACK, "--", sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.strip() == "['42', '42', '42']", done.stderr


def test_a_command_that_does_not_exist_is_told_and_ends_with_127(marked):
    done = subprocess.run(
        [*STACK, "--", "no-such-command"],
        env=marked,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 127
    assert "'no-such-command' is not a command" in done.stderr


def test_a_port_that_is_taken_is_one_line_and_exit_1(marked):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = subprocess.run(
            [*STACK, "--flower-port", str(port)],
            env=marked,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_cannot_start_is_named_with_its_reason(marked):
    done = subprocess.run(
        [*STACK, "--", "true"],
        env={**marked, "THREADS_CONCURRENCY": "many"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode in (1, 2)
    assert "THREADS_CONCURRENCY='many'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("when", "signum"),
    [
        ("starting", signal.SIGINT),
        ("starting", signal.SIGTERM),
        ("up", signal.SIGINT),
        ("up", signal.SIGHUP),
        ("up", signal.SIGKILL),
    ],
)
def test_nothing_is_left_however_it_ends(marked, signum, when):
    process = subprocess.Popen(
        STACK,
        env=marked,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    mark = marked["DAY_SIX_TEST_MARK"]
    if when == "starting":
        wait_until(lambda: len(processes(mark)) >= 4, what="the start of some processes")
    else:
        for line in process.stderr:
            if "Ctrl-C stops it" in line:
                break

    process.send_signal(signum)
    process.communicate(timeout=40)

    wait_until(gone(marked), what="the end of every process and file")
    ended_well = {
        signal.SIGINT: (0, 130),
        signal.SIGTERM: (143,),
        signal.SIGHUP: (129,),
        signal.SIGKILL: (-9,),
    }
    assert process.returncode in ended_well[signum]


def test_a_signal_ends_the_command_too(marked):
    process = subprocess.Popen(
        [
            *STACK,
            "--",
            sys.executable,
            "-c",
            "import time; print('running', flush=True); time.sleep(600)",
        ],
        env=marked,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "running\n"

    process.terminate()
    process.communicate(timeout=40)

    assert process.returncode == 143
    wait_until(gone(marked), what="the end of every process and file")


def test_no_password_stands_in_the_arguments_of_any_process(marked):
    script = (
        "import os, psutil, re\n"
        "password = re.search(':([^:@]+)@', os.environ['REDIS_URL'])[1]\n"
        "print(len(password), any(password in ' '.join(p.info['cmdline'] or ()) for p in psutil.process_iter(['cmdline'])))"
    )

    done = subprocess.run(
        [*STACK, "--", sys.executable, "-c", script],
        env=marked,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    length, shown = done.stdout.split()
    assert int(length) >= 20
    assert shown == "False"

"""`producer stack`: everything starts, a command runs with it, and nothing is left behind."""

import base64
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
import uuid

import psutil
import pytest

from tests.support import ROOT, patient, wait_until

STACK = [sys.executable, "-m", "producer", "stack"]


@pytest.fixture
def marked():
    """An environment whose processes can be found again, and a folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="with a space ") as folder:
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
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == 7
    redis_url, flower_url = done.stdout.split()
    assert re.fullmatch(r"redis://127\.0\.0\.1:\d+/0", redis_url)
    assert flower_url.startswith("http://127.0.0.1:")
    assert gone(marked)()


def test_a_proxy_or_a_redis_of_the_callers_own_does_not_get_in_between(marked, tmp_path):
    (tmp_path / "password").write_text("another")
    nowhere = "127.0.0.1:1"
    environment = {
        **marked,
        "http_proxy": f"http://{nowhere}",
        "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
        "CELERY_BROKER_URL": f"redis://{nowhere}/0",
        "CELERY_RESULT_BACKEND": f"redis://{nowhere}/0",
    }

    done = subprocess.run(
        [*STACK, "--", *STACK[:-1], "send", "fetch", "--wait"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(90),
        check=False,
    )

    assert done.returncode == 0, done.stderr


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
        timeout=patient(60),
        check=False,
    )

    assert done.stdout.strip() == "['42', '42', '42']", done.stderr


def test_another_terminal_can_use_it_and_flower_wants_the_login_that_is_printed(marked):
    process = subprocess.Popen(
        STACK,
        env={**marked, "TASK_MODULES": "examples,mine"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        shown = {}
        for line in process.stdout:
            name, _, rest = line.strip().partition(" ")
            shown[name] = rest.strip()
            if name == "use":
                break
        file = shlex.split(shown["use"])[-1]
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        done = subprocess.run(
            ["sh", "-c", '. "$1"; echo "$TASK_MODULES"; producer status --json', "sh", file],
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )
        modules, _, states = done.stdout.partition("\n")
        assert modules == "examples,mine"
        assert [state["workers"] for state in json.loads(states)] == [1, 1, 1]

        url, user, password = re.fullmatch(
            r"(\S+)  \(user (\w+), password (\S+)\)", shown["Flower"]
        ).groups()
        assert status_of(url) == 401
        assert status_of(url, f"{user}:{password}") == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=patient(40))
    wait_until(gone(marked), what="the end of every process and file")


def status_of(url, login=""):
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=patient(10)) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_command_that_does_not_exist_is_told_and_ends_with_127(marked):
    done = subprocess.run(
        [*STACK, "--", "no-such-command"],
        env=marked,
        capture_output=True,
        text=True,
        timeout=patient(60),
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
            timeout=patient(60),
            check=False,
        )

    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_cannot_start_is_named_with_its_reason(marked, tmp_path):
    (tmp_path / "gevent.py").write_text("raise SystemExit('no greenlets today')")

    done = subprocess.run(
        [*STACK, "--", "true"],
        env={**marked, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == 1
    assert "gevent did not start: exit status 1" in done.stderr.splitlines()[-1]
    assert "no greenlets today" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_one_line_and_exit_2_before_anything_starts(marked):
    done = subprocess.run(
        [*STACK, "--", "true"],
        env={**marked, "PREFORK_CONCURRENCY": "-3"},
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("producer: PREFORK_CONCURRENCY='-3'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("when", "signum", "times"),
    [
        ("starting", signal.SIGINT, 2),
        ("starting", signal.SIGTERM, 1),
        ("starting", signal.SIGKILL, 1),
        ("up", signal.SIGINT, 2),
        ("up", signal.SIGHUP, 1),
        ("up", signal.SIGKILL, 1),
    ],
)
def test_nothing_is_left_however_it_ends(marked, signum, when, times):
    process = subprocess.Popen(
        STACK,
        env=marked,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run under nohup, it would be ignored on purpose.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    mark = marked["DAY_SIX_TEST_MARK"]
    if when == "starting":
        wait_until(lambda: len(processes(mark)) >= 4, what="the start of some processes")
    else:
        for line in process.stderr:
            if "Ctrl-C stops it" in line:
                break

    process.send_signal(signum)
    if times > 1:
        wait_until(lambda: "stopping" in process.stderr.readline(), what="the first signal")
        process.send_signal(signum)
    process.communicate(timeout=patient(40))

    wait_until(gone(marked), what="the end of every process and file")
    ended_well = {
        signal.SIGINT: (0, 130),
        signal.SIGTERM: (143,),
        signal.SIGHUP: (129,),
        signal.SIGKILL: (-9,),
    }
    assert process.returncode in ended_well[signum]


# It has a child of its own, which leads a session of its own, as those of the tour do.
ENDLESS = (
    "import subprocess, sys\n"
    "print('running', flush=True)\n"
    "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_the_command_and_its_children_end_with_the_stack(marked, signum, status):
    process = subprocess.Popen(
        [*STACK, "--", sys.executable, "-c", ENDLESS],
        env=marked,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "running\n"

    process.send_signal(signum)
    process.wait(timeout=patient(40))

    assert process.returncode == status
    wait_until(gone(marked), what="the end of every process and file")


@pytest.fixture
def on_a_terminal(marked):
    """Starts a command on a terminal of its own; the file shows what it prints and types."""
    ours, theirs = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def start(*command):
        process = subprocess.Popen(
            command,
            env=marked,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=take_terminal,
        )
        os.close(theirs)
        return process, terminal

    with open(ours, "r+b", buffering=0) as terminal:
        yield start


def read_until(terminal, words):
    shown = b""
    deadline = time.monotonic() + patient(60)
    while words not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"{words!r} is not in {shown!r}"
        shown += terminal.read(4096)


def test_on_a_terminal_it_stays_after_the_command_until_ctrl_c(marked, on_a_terminal):
    process, terminal = on_a_terminal(
        *STACK, "--stay-on-tty", "--", sys.executable, "-c", "raise SystemExit(7)"
    )
    read_until(terminal, b"Ctrl-C stops it")
    assert process.poll() is None

    terminal.write(b"\x03")

    assert process.wait(timeout=patient(40)) == 7
    wait_until(gone(marked), what="the end of every process and file")


def test_ctrl_c_while_the_command_runs_on_a_terminal_ends_both(marked, on_a_terminal):
    process, terminal = on_a_terminal(*STACK, "--stay-on-tty", "--", sys.executable, "-c", ENDLESS)
    read_until(terminal, b"running")

    terminal.write(b"\x03")

    assert process.wait(timeout=patient(40)) == 130
    wait_until(gone(marked), what="the end of every process and file")


SEARCH = """
import glob, os, pathlib
folder = os.environ["DAY_SIX_STACK"]
secrets = [path.read_bytes().strip() for path in pathlib.Path(folder).glob("*.password")]
found, seen = [], 0
for part in ("environ", "cmdline"):
    for path in glob.glob(f"/proc/[0-9]*/{part}"):
        try:
            text = pathlib.Path(path).read_bytes()
        except OSError:
            continue
        seen += folder.encode() in text
        found += [path for secret in secrets if secret in text]
print(min(map(len, secrets)), len(secrets), seen, found)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="Linux shows environments")
def test_no_password_stands_in_the_arguments_or_environment_of_any_process(marked):
    done = subprocess.run(
        [*STACK, "--", sys.executable, "-c", SEARCH],
        env=marked,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    shortest, secrets, seen, found = done.stdout.split(maxsplit=3)
    assert int(shortest) >= 12
    assert int(secrets) == 2  # of Redis and of Flower
    assert int(seen) >= 7  # Redis, three workers, Flower, the endpoint, this script
    assert found.strip() == "[]"

"""Children, and their folder, go with the process that started them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from producer import janitor, stack
from producer.children import Children
from tests.support import patient, wait_until

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
# Starts a child that has a child, says where everything is, and dies.
PARENT = """
import os, subprocess, sys
from producer.children import Children
children = Children()
shell = ["sh", "-c", "sleep 600 & echo $$ $! > told.tmp; mv told.tmp told; wait"]
class Dies(dict):
    def __setitem__(self, process, _):
        print(children.folder, process.pid, flush=True)
        os.kill(os.getpid(), 9)
os.chdir(sys.argv[1])
children._launched = Dies()  # what happens first after the fork
children.launch(shell, environment=dict(os.environ))
"""


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def children():
    opened = Children()
    yield opened
    opened.close()


def test_a_killed_parent_leaves_no_child_no_grandchild_and_no_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PARENT, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    folder, pid = done.stdout.rsplit(maxsplit=1)
    told = tmp_path / "told"
    pids = {int(pid), *(map(int, told.read_text().split()) if told.exists() else ())}
    wait_until(lambda: not any(map(lives, pids)) and not Path(folder).exists())


def test_closing_ends_the_children_and_removes_the_folder(children):
    process = children.launch(SLEEP, environment=dict(os.environ))
    (children.folder / "log").write_text("said")

    children.close()

    assert process.returncode == -signal.SIGKILL
    assert not children.folder.exists()


def test_a_child_that_ignores_the_request_is_killed(children, monkeypatch):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    log = (children.folder / "log").open("wb+")
    process = children.launch(
        [sys.executable, "-c", stubborn], output=log, environment=dict(os.environ)
    )
    wait_until(lambda: os.fstat(log.fileno()).st_size)
    monkeypatch.setattr(janitor, "GRACE_S", 0.1)

    janitor.end({process.pid: os.killpg}, b"")

    assert process.wait(patient(5)) == -signal.SIGKILL


def test_the_number_of_a_child_that_has_ended_is_nobodys_to_kill():
    stranger = subprocess.Popen(SLEEP)
    lines = f"process {stranger.pid}\nended {stranger.pid}\n"

    subprocess.run([sys.executable, janitor.__file__], input=lines, text=True, check=True)

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="shows no environments")
def test_a_grandchild_in_a_session_of_its_own_ends_with_its_parent_too(children):
    told = children.folder / "told"
    script = (
        "import pathlib, subprocess, sys\n"
        f"child = subprocess.Popen({SLEEP!r}, start_new_session=True)\n"
        f"pathlib.Path({str(told)!r}).write_text(f'{{child.pid}} ')\n"
    )
    process = children.launch([sys.executable, "-c", script], environment=dict(os.environ))
    process.wait()
    pid = int(told.read_text())
    assert lives(pid)

    children.close()

    assert not lives(pid)


def test_without_its_janitor_the_folder_still_goes(children):
    children._janitor.kill()

    children.close()

    assert not children.folder.exists()


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143), ("exec /no/such/file", 127)],
)
def test_the_status_of_a_command_is_the_one_that_a_shell_gives(children, script, status):
    there = SimpleNamespace(children=children, process_environment=lambda: dict(os.environ))

    assert stack._run_command(["sh", "-c", script], there, stack._Signals()) == status

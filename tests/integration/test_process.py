"""`Process` on real workers: pid, exit codes, signals, output, parents and children."""

import multiprocessing as standard
import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing.connection import wait

import pytest

from shared import multiprocessing
from shared.errors import NotAllowed, NotPortable
from shared.pools import PoolKind
from tests.integration import process_functions as functions
from tests.support import patient

ENDABLE = [PoolKind.PREFORK, PoolKind.GEVENT]


def ended(process, seconds=20):
    process.join(patient(seconds))
    assert not process.is_alive(), f"{process} did not end within {seconds} s"
    return process.exitcode


@pytest.mark.parametrize("kind", list(PoolKind))
def test_a_process_runs_its_target_elsewhere_and_ends_with_0(stack, capfd, kind):
    process = multiprocessing.Process(
        target=functions.shout, args=("a",), kwargs={"times": 2}, kind=kind
    )

    process.start()
    pid, code = process.pid, ended(process)

    assert code == 0
    assert pid != os.getpid()
    assert capfd.readouterr().out == f"0 a {pid}\n1 a {pid}\n"


@pytest.mark.parametrize(
    ("target", "args", "code"),
    [
        (functions.leave, (None,), 0),
        (functions.leave, (3,), 3),
        (functions.leave, ("why",), 1),
        (functions.boom, (1,), 1),
        (functions.drop, (3,), 3),
        (None, (), 0),
        (functions.die, (int(signal.SIGKILL),), -signal.SIGKILL),
        (functions.die, (int(signal.SIGTERM),), -signal.SIGTERM),
    ],
)
def test_the_exit_code_is_what_a_local_process_would_have(stack, target, args, code):
    remote = multiprocessing.Process(target=target, args=args)
    local = standard.get_context("spawn").Process(target=target, args=args)

    for process in (remote, local):
        process.start()
    codes = ended(remote), ended(local)

    assert codes == (code, code)


def test_an_error_is_printed_on_the_callers_stderr_as_locally(stack, capfd):
    process = multiprocessing.Process(target=functions.boom, args=(7,), name="unlucky")

    process.start()
    ended(process)

    shown = capfd.readouterr().err
    assert shown.startswith("Process unlucky:\nTraceback (most recent call last):\n")
    assert shown.endswith("KeyError: 7\n")


@pytest.mark.parametrize("kind", ENDABLE)
@pytest.mark.parametrize(
    ("how", "signum"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)]
)
def test_an_endless_process_ends_when_told(stack, kind, how, signum):
    process = multiprocessing.Process(target=functions.forever, kind=kind)
    process.start()
    assert process.pid

    getattr(process, how)()

    assert ended(process) == -signum


def test_a_thread_says_that_it_cannot_be_ended(stack):
    process = multiprocessing.Process(target=functions.slow, args=(1,), kind=PoolKind.THREADS)
    process.start()
    assert process.pid

    with pytest.raises(NotImplementedError, match="thread cannot be terminated"):
        process.terminate()

    assert ended(process) == 0


def test_a_subclass_runs_its_own_run_with_its_own_attributes(stack, capfd):
    process = functions.Greeter("world")

    process.start()
    code = ended(process)

    assert code == 0
    assert capfd.readouterr().out == f"hello world from {process.name}\n"


def test_a_bound_method_travels_with_its_object(stack, capfd):
    process = multiprocessing.Process(target=functions.Counter(40).add, args=(2,))

    process.start()

    assert ended(process) == 0
    assert capfd.readouterr().out == "42\n"


def test_the_sentinel_becomes_readable_at_the_end(stack):
    process = multiprocessing.Process(target=functions.slow, args=(0.5,))
    process.start()

    early = wait([process.sentinel], timeout=0)
    late = wait([process.sentinel], timeout=patient(20))

    assert early == []
    assert late == [process.sentinel]


def test_a_process_is_a_child_until_it_has_ended(stack):
    process = multiprocessing.Process(target=functions.slow, args=(0.5,))
    before = multiprocessing.active_children()
    process.start()

    during = multiprocessing.active_children()
    ended(process)

    assert process not in before
    assert process in during
    assert process not in multiprocessing.active_children()


def test_wrong_use_raises_what_the_standard_library_raises(stack):
    for module in (multiprocessing, standard.get_context("spawn")):
        process = module.Process(target=functions.slow, args=(0.3,))
        for early in (process.join, process.terminate):
            with pytest.raises((AssertionError, AttributeError)):
                early()
        assert process.pid is None
        assert process.exitcode is None
        process.start()
        with pytest.raises(AssertionError):
            process.start()
        with pytest.raises(ValueError):
            process.close()
        ended(process)
        process.close()
        with pytest.raises(ValueError):
            process.is_alive()


@pytest.mark.parametrize(("target", "error"), [(lambda: 1, NotPortable), (os.abort, NotAllowed)])
def test_what_cannot_run_there_is_refused_at_the_start(stack, target, error):
    process = multiprocessing.Process(target=target)

    with pytest.raises(error):
        process.start()

    assert not process.is_alive()


def test_daemonic_processes_may_not_have_children(stack):
    process = multiprocessing.Process(target=functions.start_child, daemon=True)
    process.start()

    assert ended(process) == 1


SCRIPT = """
import os, sys, time
from shared import multiprocessing
from tests.integration import process_functions as functions
from tests.support import wait_until
if __name__ == "__main__":
    process = multiprocessing.Process(target=functions.tick, args=(sys.argv[1],), daemon={daemon})
    process.start()
    wait_until(lambda: os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1]))
    print("started", flush=True)
    {then}
"""


def ticks(path):
    return len(path.read_bytes()) if path.exists() else 0


@pytest.mark.parametrize(
    ("daemon", "then", "signum"),
    [
        (True, "sys.exit()", None),
        (False, "process.join()", signal.SIGINT),
        (False, "process.join()", signal.SIGKILL),
    ],
    ids=["daemon at exit", "Ctrl-C", "kill -9"],
)
def test_an_endless_process_ends_with_its_parent(stack, tmp_path, daemon, then, signum):
    path = tmp_path / "ticks"
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(daemon=daemon, then=then), str(path)],
        env={**os.environ, "REPLY_LEASE_S": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert parent.stdout.readline() == "started\n"
    if signum is not None:
        parent.send_signal(signum)
    parent.communicate(timeout=patient(30))
    deadline = time.monotonic() + patient(20)

    quiet_since, count = time.monotonic(), ticks(path)
    while time.monotonic() - quiet_since < 1.5:  # it ticks every 0.1 s
        assert time.monotonic() < deadline, "it still ticks"
        if ticks(path) != count:
            quiet_since, count = time.monotonic(), ticks(path)
        time.sleep(0.05)

    assert count > 0


def test_output_can_be_prefixed_with_the_name(stack):
    script = (
        "from shared import multiprocessing; from tests.integration import process_functions as functions\n"
        "p = multiprocessing.Process(target=functions.shout, args=('x',), name='crier'); p.start(); p.join()"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OUTPUT": "prefixed"},
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=True,
    )

    assert re.fullmatch(r"crier: 0 x \d+\n", done.stdout)

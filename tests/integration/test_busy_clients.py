"""A client, and a pool's process, that hold the GIL lose nothing of theirs by that."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT, leased, patient

# Longer than all the leases, without a turn for any other thread of this process.
SCRIPT = """
import ctypes, sys, threading
from shared.handles.base import reopen
from shared.multiprocessing import Lock, Pipe, Pool, Queue
from tests.integration import functions

def busy():
    ctypes.PyDLL(None).usleep(int(float(sys.argv[1]) * 1_000_000))

if __name__ == "__main__":
    {what}
"""
ANSWERS = """
    with Pool(2, kind="threads") as pool:
        result = pool.map_async(functions.double, range(20))
        busy()
        print(result.get(20)[-1])
"""
QUEUE = """
    queue = Queue()
    queue.put("here")
    busy()
    print(queue.get(timeout=5))
"""
LOCK = """
    lock = Lock()
    with lock:
        busy()
        print(reopen(Lock, lock._name, []).acquire(block=False))
    # That would raise LockLost for a lock that others could have had.
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [(ANSWERS, "38"), (QUEUE, "here"), (LOCK, "False")],
    ids=["answers", "queue", "lock"],
)
def test_a_client_that_holds_the_gil_for_three_leases_loses_nothing(stack, what, said):
    lease_s = leased(1.0)
    leases = ("REPLY_LEASE_S", "HANDLE_LEASE_S", "LOCK_LEASE_S")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("    {what}", what), str(3.5 * lease_s)],
        env={
            **os.environ,
            **dict.fromkeys(leases, str(lease_s)),
            "PYTHONPATH": str(ROOT),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr

"""``python -m tests.chaos.renewers``: what the renewer of each pool's worker takes."""

import sys
import time

import psutil

from tests.chaos.bench import Bench
from tests.support import wait_until


def renewers(worker):
    """The processes that renew leases for a worker."""
    found = []
    for child in psutil.Process(worker.pid).children(recursive=True):
        try:
            if "renewer.py" in " ".join(child.cmdline()):
                found.append(child)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def main():
    for pool in ("prefork", "threads", "gevent"):
        with Bench(lease_s=10.0) as bench:
            worker = bench.worker(pool, 4)
            bench.send(100)
            wait_until(lambda b=bench: b.done() == b.sent, 30, "the tasks")
            began = time.monotonic()
            before = [sum(one.cpu_times()[:2]) for one in renewers(worker)]
            time.sleep(30)  # what is measured
            after = [sum(one.cpu_times()[:2]) for one in renewers(worker)]
            share = (sum(after) - sum(before)) / (time.monotonic() - began)
            for one in renewers(worker):
                memory = one.memory_full_info()
                own, resident = memory.uss / 2**20, memory.rss / 2**20
                print(
                    f"{pool}: {own:.1f} MB of its own, {resident:.1f} MB resident, "
                    f"{share:.2%} of a processor"
                )


if __name__ == "__main__":
    sys.exit(main())

"""Measures the cost of `producer watch` while workers report tasks: ``python -m bench.watching``.

Start it with a stack: producer stack -- python -m bench.watching --rate 1000
"""

import argparse
import os
import pty
import select
import subprocess
import sys
import threading
import time

import psutil

from shared.app import app


def report_tasks(rate: float, grouped: bool, stop: threading.Event, sent: list[float]) -> None:
    """Send three events for each task, like a worker, in groups or one by one."""
    with app.connection_for_write() as connection:
        dispatcher = app.events.Dispatcher(connection, hostname="busy@here")
        dispatcher.buffer_group = {"task"} if grouped else set()
        started, number = time.time(), 0
        while not stop.is_set():
            number += 1
            name = {"uuid": f"{number:036d}"}
            dispatcher.send("task-received", name="bench.task", args="(1,)", kwargs="{}", **name)
            dispatcher.send("task-started", **name)
            dispatcher.send("task-succeeded", result="1", runtime=0.01, **name)
            stop.wait(max(0.0, started + number / rate - time.time()))
        sent.append(number / (time.time() - started))


def read_for(terminal: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            os.read(terminal, 65536)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.watching", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="tasks a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=15, help="how long (%(default)s)")
    parser.add_argument("--one-by-one", action="store_true", help="as a gevent worker sends them")
    arguments = parser.parse_args()
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "45"}
    watch = subprocess.Popen(
        [sys.executable, "-m", "producer", "watch"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    stop = threading.Event()
    sent: list[float] = []
    sender = threading.Thread(
        target=report_tasks, args=(arguments.rate, not arguments.one_by_one, stop, sent)
    )
    sender.start()
    try:
        read_for(ours, 4.0)  # let the command start first
        process = psutil.Process(watch.pid)
        before = process.cpu_times()
        read_for(ours, arguments.seconds)
        after = process.cpu_times()
    finally:
        stop.set()
        sender.join()
        watch.kill()
        watch.wait()
    cost = (after.user + after.system - before.user - before.system) / arguments.seconds
    print(f"{sent[0]:,.0f} tasks a second reported; watching took {cost:.1%} of a core")


if __name__ == "__main__":
    main()

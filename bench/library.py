"""The latency of queues and locks: ``python -m bench.library``.

Measures the time from a `put` or `release` to the return of a waiting `get` or `acquire`.
Start it with a stack: TASK_MODULES=bench producer stack -- python -m bench.library
"""

import argparse
import json
import os
import statistics
import time
from typing import Any

os.environ["OUTPUT"] = "off"

from rich.console import Console
from rich.table import Table

from bench.arguments import positive
from bench.commands import end_with
from producer.laboratory.figures import percentile
from shared import multiprocessing as ours


def tell_waits(questions: Any, answers: Any) -> None:
    """On a worker: answer each item with the seconds since it was sent."""
    for sent in iter(questions.get, None):
        answers.put(time.time() - sent)


def tell_turns(lock: Any, released: Any, questions: Any, answers: Any) -> None:
    """On a worker: acquire the lock each time, and answer the seconds since its release."""
    for _ in iter(questions.get, None):
        with lock:
            answers.put(time.time() - released.value)


def queue_waits(times: int) -> list[float]:
    """Return the seconds from each `put` to the return of the waiting `get`."""
    questions, answers = ours.Queue(), ours.Queue()
    process = ours.Process(target=tell_waits, args=(questions, answers))
    process.start()
    found = []
    for _ in range(times):
        time.sleep(0.02)  # by now the process waits for the next item
        questions.put(time.time())
        found.append(answers.get(timeout=30))
    questions.put(None)
    process.join()
    return found


def lock_waits(times: int) -> list[float]:
    """Return the seconds from each `release` to the return of the waiting `acquire`."""
    lock, released, questions, answers = ours.Lock(), ours.Value("d"), ours.Queue(), ours.Queue()
    process = ours.Process(target=tell_turns, args=(lock, released, questions, answers))
    process.start()
    found = []
    for _ in range(times):
        lock.acquire()
        questions.put("your turn")
        time.sleep(0.05)  # by now the process waits for the lock
        released.value = time.time()
        lock.release()
        found.append(answers.get(timeout=30))
    questions.put(None)
    process.join()
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.library", description=__doc__)
    parser.add_argument("--times", type=positive, default=100, help="hand-overs (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    waits = {"Queue": queue_waits(arguments.times), "Lock": lock_waits(arguments.times)}
    if arguments.json:
        print(json.dumps({"hand_over_s": waits}, indent=2))
        return 0
    table = Table("hand-over to a process on a worker", "median", "p99")
    for name, waited in waits.items():
        middle, last = statistics.median(waited), percentile(waited, 99)
        table.add_row(name, f"{middle * 1e3:.1f} ms", f"{last * 1e3:.1f} ms")
    Console().print(table)
    return 0


if __name__ == "__main__":
    end_with(main)

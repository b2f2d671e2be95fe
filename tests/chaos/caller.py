"""A client: calls, tasks, groups and chords, each of which must have its value.

``python -m tests.chaos.caller KIND FIRST`` numbers them from FIRST on, round after round until its
input ends, and prints after each round how many there were. It ends with 0 if all had their values.
"""

import select
import sys

from celery import chord, group

from shared.multiprocessing import Pool
from tests.chaos.bench import QUEUE
from tests.chaos.work import app, call, mark, total

LONG_S = 300
ROUND, PARTS = 40, 10


def run_round(pool, first):
    """One of everything; the number after the last."""
    calls = pool.map_async(call, range(first, first + ROUND), 1)
    tasks = [mark.apply_async((first + ROUND + n,), queue=QUEUE) for n in range(ROUND)]
    parts = [mark.s(first + 2 * ROUND + n).set(queue=QUEUE) for n in range(2 * PARTS)]
    some = group(parts[:PARTS]).apply_async()
    counted = chord(parts[PARTS:])(total.s().set(queue=QUEUE))
    assert calls.get(LONG_S) == list(range(first, first + ROUND))
    assert [task.get(timeout=LONG_S) for task in tasks] == [first + ROUND + n for n in range(ROUND)]
    assert len(some.get(timeout=LONG_S)) == PARTS
    assert counted.get(timeout=LONG_S) == PARTS
    return first + 2 * ROUND + 2 * PARTS


def main():
    kind, first = sys.argv[1], int(sys.argv[2])
    app.set_current()
    app.conf.task_publish_retry_policy = {"max_retries": None, "interval_max": 0.5}
    number = first
    with Pool(8, kind=kind) as pool:
        while not select.select([sys.stdin], [], [], 0)[0]:
            number = run_round(pool, number)
            print(number - first, flush=True)


if __name__ == "__main__":
    main()

"""The producer that is killed: ``python -m tests.chaos.sender FIRST LAST`` sends numbers in batches.

It prints the first number of each batch that was accepted; whoever goes on after it was killed
repeats from there, and what had been accepted unnoticed counts once.
"""

import sys
import uuid

from shared import publishing
from tests.chaos.bench import QUEUE

BATCH = 50


def main(first, last):
    template = publishing.Template("note", QUEUE)
    for start in range(first, last + 1, BATCH):
        numbers = range(start, min(start + BATCH, last + 1))
        messages = [template.render(str(uuid.uuid4()), [number, 0.001], {}) for number in numbers]
        publishing.push(QUEUE, messages, mark=f"chaos-{start}")
        print(start, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""Defines the name of every key in Redis, and generates new ids.

kombu's own keys (the queues' lists, ``unacked`` …) and Celery's results keep their names.
"""

import os
import re

# Ownership. Sorted set: owner → when its lease ends, by Redis' clock.
OWNERS = "owners"
# Set: the same owners. A renewal does not change this set, so clients get no notice.
OWNER_NAMES = "owners:names"
# String: the time of the last renewal of any lease, in milliseconds.
RENEWED_AT = "owners:renewed"
# Set: owners whose lease has ended and whose messages go back to their queues.
BURIED = "buried"
# Hash for each owner: number → the list the message came from, a newline, the message.
TAKEN = "taken:"
# Hash: the workers' counts of tasks done and failed, and of leases that have ended.
COUNTS = "counts"
LEASES_LOST = "leases:lost"  # a field of it

# Dead letters. Sorted set: id → when it died. Hashes: id → letter, queue → number of letters.
DEAD = "dead"
DEAD_LETTERS = "dead:letters"
DEAD_QUEUES = "dead:queues"

# Hash: random id of a worker process → the worker's description of itself, as JSON.
WORKERS = "workers"
# String for each worker's process: the tasks that this worker has, as JSON.
TASKS = "tasks:"
# RedBeat's schedule. A prefix: name → hash of an entry. Sorted set: entry's key → time when the
# entry is due. String: a sign that a scheduler is alive.
SCHEDULE_ENTRY = "redbeat:"
SCHEDULE = SCHEDULE_ENTRY + ":schedule"
SCHEDULER_ALIVE = SCHEDULE_ENTRY + ":alive"
# Sorted set: id of a cancelled task → when it was cancelled.
WITHDRAWN = "withdrawn"
# String for each ordinary task: its outcome, as Celery's Redis backend names it.
RESULT = "celery-task-meta-"
# The result of a group. With a suffix: the keys in which Celery counts the parts of a chord.
GROUP = "celery-taskset-meta-"

# String for each push, and for each task sent with ``--id``: a mark that Redis has accepted it.
PUSHED = "pushed:"
ACCEPTED = "accepted:"
# Stream for each client process: the outcomes of its calls.
REPLIES = "replies:"

# Names that no queue has: kombu's and Celery's own keys, our keys, and the keys of handles, which
# consist of a kind and 32 digits.
_NO_QUEUE = re.compile(
    r"_kombu\.|unacked|celeryev|.*\.pidbox$|[a-z_]+:[0-9a-f]{32}"
    rf"|{RESULT}|{GROUP}|{TAKEN}|{TASKS}|{PUSHED}|{ACCEPTED}|{REPLIES}|{SCHEDULE_ENTRY}"
    rf"|({OWNERS}|{OWNER_NAMES}|{RENEWED_AT}|{BURIED}|{COUNTS}|{WORKERS}|{WITHDRAWN})$"
    rf"|({DEAD}|{DEAD_LETTERS}|{DEAD_QUEUES})$",
    re.DOTALL,
)


def new_id() -> str:
    """Return a random UUID as text. `uuid.uuid4` takes three times as long."""
    digits = new_word()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def new_word() -> str:
    """Return 32 random hexadecimal digits, for a unique name."""
    return os.urandom(16).hex()


def is_queue(name: str | bytes) -> bool:
    """Return whether a list can be a queue. Its name may end with kombu's priority step."""
    text = name if isinstance(name, str) else name.decode(errors="replace")
    queue = text.partition("\x06\x16")[0]
    return bool(queue) and not _NO_QUEUE.match(queue)

"""What is compared. Beside this list, each system is one module with the same few functions:

    enqueue(count)        that many no-ops, one by one
    enqueue_bulk(count)   the same, the way the library has for many
    call(number)          one call; gives the number back
    gather(count)         that many calls, sent one by one; their results in order
    left()                how many are queued or being run
    worker(form)          the commands that start its worker

A module is imported by the interpreter of the system's own environment alone. Its functions may
be coroutines.
"""

import dataclasses
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench import environments


class Form(StrEnum):
    """What a worker is started as."""

    THREADS = "threads"
    PROCESSES = "processes"
    GREENLETS = "greenlets"


SIZES = {Form.THREADS: 10, Form.PROCESSES: 2, Form.GREENLETS: 100}


@dataclass(frozen=True)
class System:
    """What the report says of a system, and where it is."""

    name: str
    module: str
    durability: str  # of a task whose worker is killed with SIGKILL
    setup: str  # beside its defaults
    environment: str | None = None  # None: this interpreter's own
    variant: str = ""
    root: Path = environments.ROOT  # the checkout whose code is run
    # What a form is where the system has none of that name.
    forms: tuple[tuple[Form, str], ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is this project, in whatever variant or checkout."""
        return self.environment is None

    def python(self) -> Path:
        """The interpreter that has the system, its environment made if it is not there."""
        if self.environment is None:
            return Path(sys.executable)
        return environments.python(self.environment)


OURS = "day-six"
BEFORE = "before"
_COROUTINES = ((Form.GREENLETS, "100 coroutines"),)

SYSTEMS = {
    system.name: system
    for system in (
        System(
            OURS,
            "day_six",
            "nothing is lost: taken and recorded in one step, acknowledged after the run, "
            "back within seconds",
            "as shipped; results not stored where none are asked for",
        ),
        System(
            "celery",
            "celery",
            "acknowledged before it runs: what ran is lost, and what was being taken; "
            "the rest comes back after an hour",
            "defaults, Redis as broker and result backend",
            environment="celery",
        ),
        System(
            "celery-tuned",
            "celery",
            "as celery",
            "its guide to optimising: results not stored where none are asked for, prefetch 32, "
            "no gossip, mingle or heartbeat; kombu's `Producer.batch` for bulk; "
            "`result_backend_thread_safe`",
            environment="celery",
            variant="tuned",
        ),
        System(
            "dramatiq",
            "dramatiq",
            "acknowledged after the run; comes back when its worker has shown no life for a minute",
            "defaults; `group` for bulk; results in Redis where asked for",
            environment="dramatiq",
        ),
        System(
            "taskiq",
            "taskiq",
            "acknowledged after the run; claimed by another after ten minutes",
            "`RedisStreamBroker`, uvloop; `gather` of 1,000 for bulk; results polled each ms",
            environment="taskiq",
            forms=((Form.THREADS, "10 coroutines"), *_COROUTINES),
        ),
        System(
            "huey",
            "huey",
            "taken with BRPOP: what a killed worker had is lost",
            "`RedisHuey` with `notify_result`; `map` for bulk",
            environment="huey",
        ),
        System(
            "rq",
            "rq",
            "recorded as failed after its timeout, and not run again by itself",
            "`worker-pool` of `SimpleWorker`s, which do not fork for each task; `enqueue_many` for "
            "bulk; results not kept where none are asked for",
            environment="rq",
            forms=((Form.THREADS, "10 processes"),),
        ),
        System(
            "arq",
            "arq",
            "stays queued until it has run; runs again when its mark expires, after five minutes",
            "polls each 10 ms, results each ms; `gather` for bulk; results not kept where none "
            "are asked for",
            environment="arq",
            forms=((Form.THREADS, "10 coroutines"), *_COROUTINES),
        ),
        System(
            "saq",
            "saq",
            "recorded as active; aborted by a sweep each minute, run again only with `retries`",
            "results polled each ms; `gather` for bulk, `map` for fan-out; results not kept where "
            "none are asked for",
            environment="saq",
            forms=((Form.THREADS, "10 coroutines"), *_COROUTINES),
        ),
    )
}


def add_checkout(root: Path) -> None:
    """Have ours of another checkout compared too, under the name ``before``."""
    ours = SYSTEMS[OURS]
    SYSTEMS[BEFORE] = dataclasses.replace(ours, name=BEFORE, root=root, setup=f"as in {root.name}")

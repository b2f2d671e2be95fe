"""The list of the compared systems. Each system is one module with the same functions:

    enqueue(count)        enqueue this many empty tasks, one by one
    enqueue_bulk(count)   enqueue them with the library's way for many tasks
    call(number)          make one call; return the number
    gather(count)         send this many calls one by one; return their results in order
    left()                return the number of queued and running tasks
    worker(form)          return the commands that start a worker

Only the interpreter of the system's own environment imports a module. The functions may be
coroutines.
"""

import dataclasses
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench import environments


class Form(StrEnum):
    """The kind of concurrency that a worker uses."""

    THREADS = "threads"
    PROCESSES = "processes"
    GREENLETS = "greenlets"


SIZES = {Form.THREADS: 10, Form.PROCESSES: 2, Form.GREENLETS: 100}


@dataclass(frozen=True)
class System:
    """The description of a system for the report, and the location of its code."""

    name: str
    module: str
    durability: str  # the fate of a task whose worker is killed with SIGKILL
    setup: str  # how it differs from its defaults
    environment: str | None = None  # None: this interpreter's own
    variant: str = ""
    root: Path = environments.ROOT  # the checkout whose code is run
    # The substitutes for forms that the system lacks.
    forms: tuple[tuple[Form, str], ...] = ()

    @property
    def is_ours(self) -> bool:
        """True if the system is this project, in any variant or checkout."""
        return self.environment is None

    def python(self) -> Path:
        """Return the interpreter for the system. Creates its environment if necessary."""
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
    """Add this project in another checkout to the systems, under the name ``before``."""
    ours = SYSTEMS[OURS]
    SYSTEMS[BEFORE] = dataclasses.replace(ours, name=BEFORE, root=root, setup=f"as in {root.name}")

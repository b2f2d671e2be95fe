"""The ready-made tasks, for programs that send them: with the application that they belong to."""

from shared.app import app
from shared.tasks import count_steps, fail, fetch, primes, printcount, sleep

__all__ = ["app", "count_steps", "fail", "fetch", "primes", "printcount", "sleep"]

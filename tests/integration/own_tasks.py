"""Ordinary Celery tasks, as a user writes them: the workers of the tests have them."""

from celery import Task, shared_task

from shared.app import app


@shared_task
def add(x, y):
    """Add two things."""
    return x + y


@app.task(bind=True)
def where(self, *ignored):
    """Say on which queue it ran."""
    return self.request.delivery_info["routing_key"]


@shared_task
def lengthen(items: list[str], by: str = "x") -> list[str]:
    """Lengthen each text."""
    return [item + by for item in items]


@shared_task(bind=True, max_retries=3, default_retry_delay=0.5)
def third_time(self):
    """Fail twice, then say how often it was tried."""
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("not yet"))
    return self.request.retries + 1


class Counting(Task):
    """A class of tasks."""

    def before_start(self, task_id, args, kwargs):
        self.began = task_id


@app.task(base=Counting, bind=True)
def began(self):
    """Say whether `before_start` was called."""
    return self.began == self.request.id


class Greet(Task):
    """Greet somebody."""

    name = "tests.greet"

    def run(self, name: str, loudly: bool = False) -> str:
        return f"Hello, {name}" + "!" * loudly


app.register_task(Greet())


@shared_task(rate_limit="100/s")
def limited():
    """Run at most a hundred times a second."""
    return "limited"


@app.task
def routed(*ignored):
    """Run where the routes say."""
    return "routed"


app.conf.task_routes[routed.name] = {"queue": "threads"}


@shared_task
def later():
    """Have another task done, and say which."""
    return where.delay().id


@shared_task
def send_nowhere():
    """Send a task to a queue without a worker."""
    return where.apply_async(queue="nowhere").id


@shared_task
def added_up(numbers):
    """Add up."""
    return sum(numbers)


def plain(x: int, y: int = 2) -> int:
    """Multiply; no task."""
    return x * y


async def awaited(x: int) -> int:
    """Give it back, some time later."""
    import asyncio

    await asyncio.sleep(0.01)
    return x

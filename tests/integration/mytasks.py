"""The module of docs/own-tasks.md, word for word."""

from shared.app import app


@app.task
def square(x: int) -> int:
    """Multiply a number by itself."""
    return x * x


@app.task
def total(numbers: list[int], extra: int = 0) -> int:
    """Add up."""
    return sum(numbers) + extra


@app.task(bind=True, autoretry_for=(ConnectionError,), default_retry_delay=0.5, max_retries=3)
def flaky(self) -> str:
    """Fail twice, then succeed."""
    if self.request.retries < 2:
        raise ConnectionError("not yet")
    return f"succeeded at attempt {self.request.retries + 1}"


@app.task
def explain(request, error, traceback) -> None:
    """Print the failure of a task that has this one as its link_error."""
    print(f"{request.task} failed: {error!r}")


def cube(x: int) -> int:
    """A plain function: no task."""
    return x**3

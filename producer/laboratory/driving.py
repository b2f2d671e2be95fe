"""Keeps an executor busy with a fixed number of items at once, and measures each item.

One more is submitted whenever one has come back, so that latency is that of a service under
this load, and Little's law can be held against it. Works wherever threads do: in a patched
process they are greenlets.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from shared.laboratory import probes

Sample = dict[str, Any]
Receive = Callable[[Any], None]
# (arguments of the item, receiver of its measures or of an exception)
Submit = Callable[[list[Any], Receive], Any]


def pooled(pool: Any, function: Callable[..., Any]) -> Submit:
    """Submits items to a `multiprocessing` pool, the standard library's or ours."""

    def submit(item: list[Any], receive: Receive) -> Any:
        return pool.apply_async(
            probes.probe,
            (function, item),
            callback=lambda reply: receive(reply[0]),
            error_callback=receive,
        )

    return submit


class TooSlow(Exception):
    """Raised if items do not return in time."""


def drive(
    submit: Submit, items: list[list[Any]], concurrency: int, within_s: float
) -> dict[str, Any]:
    """Run all items. Returns the samples in order, and the seconds for all."""
    deadline = time.monotonic() + within_s
    places = threading.Semaphore(concurrency)
    samples: list[Sample | None] = [None] * len(items)

    def take_place() -> None:
        if not places.acquire(timeout=max(0.0, deadline - time.monotonic())):
            back = sum(sample is not None for sample in samples)
            raise TooSlow(f"{back} of {len(items)} items came back within {within_s:g} s")

    def receiver(index: int, submitted: float) -> Receive:
        def receive(measures: Any) -> None:
            samples[index] = _sample(measures, submitted)
            places.release()

        return receive

    started = time.time()
    for index, item in enumerate(items):
        take_place()
        submit(item, receiver(index, time.time()))
    for _ in range(concurrency):
        take_place()
    return {"seconds": time.time() - started, "samples": samples}


async def drive_async(
    run: Callable[[list[Any]], Any], items: list[list[Any]], concurrency: int, within_s: float
) -> dict[str, Any]:
    """Run all items as coroutines, with the results of `drive`."""
    places = asyncio.Semaphore(concurrency)
    samples: list[Sample | None] = [None] * len(items)

    async def one(index: int, item: list[Any], submitted: float) -> None:
        samples[index] = _sample(await run(item), submitted)
        places.release()

    started = time.time()
    try:
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
            for index, item in enumerate(items):
                await places.acquire()
                group.create_task(one(index, item, time.time()))
    except TimeoutError:
        back = sum(sample is not None for sample in samples)
        raise TooSlow(f"{back} of {len(items)} items came back within {within_s:g} s") from None
    return {"seconds": time.time() - started, "samples": samples}


def _sample(measures: Any, submitted: float) -> Sample:
    received = time.time()
    if isinstance(measures, BaseException):
        text = f"{type(measures).__name__}: {measures}".partition("\n")[0][:300]
        measures = {"lost": text}
    return {**measures, "submitted": submitted, "received": received}

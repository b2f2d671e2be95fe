"""A fresh process for one local executor: ``python -m producer.laboratory.local thread``.

Reads one order a line, answers with one line, both JSON. Fresh, since gevent wants to be first
to patch, a fork wants no threads, and what a function does to its process stays there.
"""

import sys

from shared.pools import PoolKind

if sys.argv[1:] == [PoolKind.GEVENT.value]:
    from gevent import monkey

    monkey.patch_all()

import asyncio
import functools
import json
import multiprocessing
import multiprocessing.pool
import os
import time
from collections.abc import Callable
from typing import IO, Any

from producer.laboratory.driving import Receive, Submit, TooSlow, drive, drive_async, pooled
from producer.laboratory.executors import Executor
from shared.calls import codec, references
from shared.laboratory import probes, workloads


def main() -> None:
    """Run orders until there are no more."""
    executor = Executor(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Redirect the function's output, which would mix with the answers.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    for line in sys.stdin:
        _answer(executor, json.loads(line), answers)


def _answer(executor: Executor, order: dict[str, Any], answers: IO[str]) -> None:
    try:
        done = _run(executor, order)
    except TooSlow as error:
        done = {"problem": str(error), "late": True}
    except Exception as error:
        done = {"problem": f"{type(error).__name__}: {error}".partition("\n")[0]}
    answers.write(json.dumps(done) + "\n")
    answers.flush()


def _run(executor: Executor, order: dict[str, Any]) -> dict[str, Any]:
    function = references.resolve_function(order["function"])
    items = codec.loads(bytes.fromhex(order["items"]))
    size, within_s = order["concurrency"], order["within_s"]
    began = time.time()
    if executor is Executor.ASYNCIO:
        awaited = functools.partial(probes.probe_async, function)
        return {"startup_s": 0.0, **asyncio.run(drive_async(awaited, items, size, within_s))}
    if executor is Executor.SERIAL:
        return {"startup_s": 0.0, **drive(_serially(function), items, 1, within_s)}
    if executor is Executor.GREENLET:
        return {"startup_s": 0.0, **drive(_greenlets(function), items, size, within_s)}
    with _pool(executor, size) as pool:
        # Each worker has answered, so the start-up time ends here.
        pool.map(workloads.noop, range(size), chunksize=1)
        startup_s = time.time() - began
        done = drive(pooled(pool, function), items, size, within_s)
    return {"startup_s": startup_s, **done}


def _pool(executor: Executor, size: int) -> Any:
    if executor is Executor.PROCESS:
        return multiprocessing.Pool(size)
    return multiprocessing.pool.ThreadPool(size)


def _serially(function: Callable[..., Any]) -> Submit:
    return lambda item, receive: receive(probes.probe(function, item)[0])


def _greenlets(function: Callable[..., Any]) -> Submit:
    import gevent

    def run(item: list[Any], receive: Receive) -> None:
        receive(probes.probe(function, item)[0])

    return functools.partial(gevent.spawn, run)


if __name__ == "__main__":
    main()

"""Names from the submodules, and generic aliases, as scripts use them."""

import concurrent.futures.process
import multiprocessing.context
import multiprocessing.util
from concurrent.futures._base import LOGGER
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from multiprocessing.context import Process
from multiprocessing.context import TimeoutError as LateError
from multiprocessing.managers import Namespace
from multiprocessing.pool import ApplyResult, AsyncResult
from multiprocessing.queues import SimpleQueue

results: "list[ApplyResult[int]]" = []
queues: "list[SimpleQueue[str]]" = []


def double(number):
    return 2 * number


if __name__ == "__main__":
    print(
        issubclass(BrokenProcessPool, concurrent.futures.BrokenExecutor), BrokenThreadPool.__name__
    )
    print(concurrent.futures.process.BrokenProcessPool is BrokenProcessPool, LOGGER.name)
    print(ApplyResult is AsyncResult, ApplyResult[int].__args__, SimpleQueue[str].__args__)
    print(issubclass(multiprocessing.context.TimeoutError, multiprocessing.ProcessError))
    print(LateError.__name__, multiprocessing.util.get_logger().name, Namespace(a=1).a)
    with ProcessPoolExecutor(2) as executor:
        print(list(executor.map(double, range(3))))
    process = Process(target=print, args=("from a process",))
    process.start()
    process.join()
    print(process.exitcode)

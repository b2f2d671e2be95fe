"""Executors and coroutines, as a script uses them that knows the standard library only."""

import asyncio
import concurrent.futures
import queue
import time
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed


def rest(seconds):
    time.sleep(seconds)
    return seconds


def length(text):
    if not text:
        raise LookupError("nothing")
    return len(text)


async def ask():
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor() as processes, ThreadPoolExecutor() as threads:
        first = loop.run_in_executor(processes, length, "process")
        second = loop.run_in_executor(threads, length, "thread")
        return await asyncio.gather(first, second, asyncio.to_thread(length, "here"))


if __name__ == "__main__":
    heard = queue.Queue()
    with futures.ThreadPoolExecutor(max_workers=2) as executor:
        asked = {executor.submit(length, text): text for text in ("a", "", "ccc")}
        for future in sorted(as_completed(asked), key=asked.get):
            print(asked[future], repr(future.exception()) or future.result())
        future = executor.submit(length, "four")
        future.add_done_callback(heard.put)
        print("done", heard.get(timeout=20).result())
        print(future.result(), future.done(), future.cancelled())
        try:
            next(executor.map(rest, [1], timeout=0.05))
        except concurrent.futures.TimeoutError:
            print("too late")
    with concurrent.futures.ProcessPoolExecutor() as executor:
        print(list(executor.map(length, ["x" * n for n in range(1, 9)], chunksize=3)))
        done, left = futures.wait([executor.submit(rest, 0.01) for _ in range(3)])
        print(len(done), len(left))
    try:
        executor.submit(length, "late")
    except RuntimeError as error:
        print(error)
    print(asyncio.run(ask()))

"""S7: the GIL. The same CPU work serially, in threads and in processes.

The tutorial says that PyPy does without the GIL: it does not, PyPy has one too. What does
without is CPython's own free-threaded build (python3.13t and newer).
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

WORKERS = 2
BELOW = 250_000
ROUNDS = 5
PARTS = 6


def count_primes(below):
    found = []
    for number in range(2, below):
        for prime in found:
            if prime * prime > number:
                found.append(number)
                break
            if number % prime == 0:
                break
        else:
            found.append(number)
    return len(found)


def gil_is_on():
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def timed(run):
    started = time.perf_counter()
    results = list(run(count_primes, [BELOW] * PARTS))
    return time.perf_counter() - started, results


if __name__ == "__main__":
    print("GIL:", "on" if gil_is_on() else "off")
    with ThreadPoolExecutor(WORKERS) as threads, ProcessPoolExecutor(WORKERS) as processes:
        for executor in (threads, processes):
            list(executor.map(count_primes, [10] * WORKERS))  # start the workers first
        ways = {"serial": map, "threads": threads.map, "processes": processes.map}
        best = dict.fromkeys(ways, float("inf"))
        answers = set()
        # In turns, and the best of each: a busy neighbour hurts all of them alike.
        for _ in range(ROUNDS):
            for name, way in ways.items():
                seconds, results = timed(way)
                best[name] = min(best[name], seconds)
                answers.add(tuple(results))
    assert len(answers) == 1
    for name, seconds in best.items():
        print(f"{name}: {seconds:.2f} s, {best['serial'] / seconds:.2f} times serial")

"""S9: gevent. Two hundred tasks wait a second each, in one process, in about a second."""

import os
import time


def wait(seconds):
    time.sleep(seconds)  # in a patched process this lets the other greenlets run
    return os.getpid()


if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_time()
    import gevent

    started = time.perf_counter()
    greenlets = [gevent.spawn(wait, 1) for _ in range(200)]
    gevent.joinall(greenlets)
    seconds = time.perf_counter() - started
    processes = {greenlet.value for greenlet in greenlets}
    print(f"200 greenlets: {seconds:.2f} s, processes: {len(processes)}")

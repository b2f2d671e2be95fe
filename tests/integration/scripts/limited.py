"""Says whether some worker's process may not open many files, or has a thread too many."""

import resource
import threading
import time
from multiprocessing import Pool


def limited(_):
    time.sleep(0.2)
    names = [repr(getattr(one, "_target", "")) for one in threading.enumerate()]
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 500 or "go_on" in str(names)


if __name__ == "__main__":
    with Pool() as pool:
        print(set(pool.map(limited, range(24), chunksize=1)))

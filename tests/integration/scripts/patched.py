"""Says whether a library is patched in the workers' processes."""

import time
from multiprocessing import Pool


def patched(_):
    found = hasattr(time, "slept")
    getattr(time, "slept", time.sleep)(0.2)
    return found


if __name__ == "__main__":
    with Pool() as pool:
        print(set(pool.map(patched, range(24), chunksize=1)))

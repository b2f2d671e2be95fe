"""Says whether a thread pool's work is done in this process."""

import os
from concurrent.futures import ThreadPoolExecutor


def where(_):
    return os.getpid()


if __name__ == "__main__":
    with ThreadPoolExecutor(2) as executor:
        print(set(executor.map(where, range(4))) == {os.getpid()})

"""Starts something at import, as its first argument says."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool, Process

HOW = sys.argv[1] if len(sys.argv) > 1 else ""


def double(number):
    return 2 * number


def main():
    with Pool(2) as pool:
        print(pool.map(double, range(3)))


if HOW == "pool":
    Pool(2)
elif HOW == "executor":
    with ProcessPoolExecutor() as executor:
        print(list(executor.map(double, range(3))))
elif HOW == "process":
    Process(target=double, args=(1,)).start()
elif HOW == "function":
    main()

if __name__ == "__main__":
    if HOW == "guarded":
        main()

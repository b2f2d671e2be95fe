"""``make test-celery``: all of Celery's and kombu's tests that run over Redis, on both sides."""

import argparse
import sys
from collections import Counter

from tests.suites.running import SIDES, WHOLE, outcomes, reason, worse
from tests.suites.sources import Unavailable


def main():
    """Run, compare, print; the exit status."""
    packages = sorted({part.package for part in WHOLE})
    parser = argparse.ArgumentParser(prog="python -m tests.suites", description=__doc__)
    parser.add_argument("--package", choices=packages, help="only this one's tests")
    package = parser.parse_args().package
    status = 0
    for part in WHOLE:
        if package not in (None, part.package):
            continue
        try:
            found = {side: outcomes(part, side)[0] for side in SIDES}
        except Unavailable as error:
            print(error)
            return 1
        for side in SIDES:
            counted = ", ".join(f"{n} {what}" for what, n in Counter(found[side].values()).items())
            print(f"{part.package} on {side}: {counted}")
        stock, ours = (found[side] for side in SIDES)
        for test, outcome in stock.items():
            why = reason(part.package, test)
            if outcome == "passed" and ours.get(test) != "passed" and why:
                print(f"  left out: {test}: {why}")
        for test in worse(part.package, stock, ours):
            status = 1
            print(f"  WORSE than stock: {test}")
    return status


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.fuzz``: hostile messages and odd entries, until the time is over."""

import argparse
import json
import random
import signal
import sys
from dataclasses import asdict

from rich.console import Console

from tests.fuzz.running import run


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, help="repeat what this number makes")
    parser.add_argument("--json", action="store_true", help="print the account as JSON")
    arguments = parser.parse_args()
    if arguments.seconds <= 0:
        parser.error("--seconds is more than 0")
    # What was started ends with it then, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(f"seed {seed}")
    account = run(arguments.seconds, seed, say=console.print)
    if arguments.json:
        print(json.dumps(asdict(account), indent=2))
    else:
        for name, value in asdict(account).items():
            if name != "wrong":
                print(f"{name:>16} {value}")
        for line in account.wrong[:20]:
            print(line)
    if account.wrong:
        print(f"failed; again with: python -m tests.fuzz --seed {seed}", file=sys.stderr)
    return int(bool(account.wrong))


if __name__ == "__main__":
    sys.exit(main())

"""A short form of `make fuzz`."""

import random

from tests.fuzz.running import run

SECONDS = 30


def test_hostile_messages_and_odd_entries_stop_nothing_and_all_who_wait_are_told():
    seed = random.randrange(2**32)

    account = run(SECONDS, seed)

    assert account.wrong == [], f"again with: python -m tests.fuzz --seed {seed}"
    assert account.done == account.good
    assert account.dead > account.bad / 3

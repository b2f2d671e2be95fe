"""Which searches there are, and the deliberate mistakes that they must find."""

from typing import NamedTuple

from tests.model.protocol import Faults, Protocol


class Search(NamedTuple):
    """The bounds of one search. Without `sending`, it begins with all tasks on the queue."""

    name: str
    workers: int
    tasks: int
    faults: Faults
    sending: bool = False
    in_order: bool = False
    asks: tuple[int, ...] = (2,)

    def model(
        self, *, symmetry: bool = True, mutant: str = "", kind: type[Protocol] = Protocol
    ) -> Protocol:
        return kind(
            self.workers,
            self.tasks,
            self.faults,
            sending=self.sending,
            in_order=self.in_order,
            asks=self.asks,
            symmetry=symmetry,
            mutant=mutant,
        )


# Several searches with a few faults each, because the states grow with the product of all faults.
SHORT = (
    Search("send and take", 2, 2, Faults(losses=2), sending=True, asks=(1, 2)),
    Search("kill", 2, 2, Faults(kills=2), asks=(1,)),
    Search("pause", 2, 1, Faults(kills=1, pauses=1, losses=1)),
    Search("fail and retry", 2, 1, Faults(kills=1, failures=1, retries=1)),
    Search("cancel and countdown", 2, 1, Faults(kills=2, cancels=1, countdowns=1)),
    Search("order", 1, 3, Faults(losses=1, gives=3), in_order=True, asks=(1, 2)),
)
LONG = (
    Search("kill", 2, 3, Faults(kills=1, losses=1, gives=1)),
    Search("kill twice", 2, 3, Faults(kills=2)),
    Search("pause", 2, 3, Faults(pauses=1), asks=(3,)),
    Search("pause, lost reply", 2, 2, Faults(pauses=1, losses=1), asks=(1,)),
    Search("pause and kill", 2, 2, Faults(kills=1, pauses=1)),
    Search("three workers, kill", 3, 2, Faults(kills=2, losses=1), asks=(1,)),
    Search("three workers, pause", 3, 2, Faults(kills=1, pauses=1), asks=(1,)),
    Search("send", 2, 2, Faults(kills=1, losses=2), sending=True),
    Search("fail and retry", 2, 2, Faults(kills=1, failures=1, retries=1)),
    Search("fail, pause, retry", 2, 1, Faults(kills=1, pauses=1, failures=1, retries=1)),
    Search("cancel and countdown", 2, 2, Faults(kills=2, cancels=1, countdowns=1)),
    Search("order", 1, 3, Faults(losses=2, gives=4), sending=True, in_order=True, asks=(1, 2)),
)

# Not promised with `appendfsync everysec`: Redis loses what it has answered in its last second.
RESTART = Search("Redis loses a second", 2, 1, Faults(kills=1, restarts=1))

_KILL = Search("", 2, 1, Faults(kills=2))
_TWO = Search("", 1, 2, Faults(kills=1, losses=2, gives=1), asks=(1, 2))
_PAUSE = Search("", 2, 2, Faults(pauses=1), asks=(1,))
_STALE = Search("", 2, 1, Faults(kills=1, pauses=1))
_FAIL = Search("", 1, 1, Faults(kills=1, failures=1, retries=1))
_SEND = Search("", 1, 2, Faults(losses=1), sending=True)

# Name of the mistake: what is changed, and the search that finds it.
MUTANTS: dict[str, tuple[str, Search]] = {
    "push without mark": ("PUSH_ONE pushes again after a lost reply", _SEND),
    "any mark counts": ("PUSH_ONE takes an older push's mark for its own", _SEND),
    "take records later": ("the message is popped, and recorded when the reply arrives", _TWO),
    "take without owner check": ("TAKE serves an owner whose lease has ended", _STALE),
    "repeated take forgets": ("TAKE ignores what a lost take has recorded", _TWO),
    "acknowledgements lost with a take": ("_settle_again does nothing", _TWO),
    "acknowledge at the beginning": ("a message is acknowledged when its task begins", _KILL),
    "answer without record": ("SEND answers though the message has been returned", _PAUSE),
    "give back the first one first": ("give_back does not sort by number", SHORT[-1]),
    "take beside kept messages": ("a take overtakes messages that go back", SHORT[-1]),
    "give back counts": ("give_back counts a failed delivery", _TWO),
    "return without removal": ("_RETURN pushes and does not remove", _KILL),
    "return without check": ("_RETURN pushes what is not recorded any more", _TWO),
    "return removes first": ("the return is two steps: remove, then push", _KILL),
    "return does not count": ("return_all forgets the number of failed deliveries", _KILL),
    "no limit": ("return_all never makes a dead letter", _KILL),
    "bury removes first": ("the burial is two steps: remove, then store the letter", _FAIL),
    "forget a failure": ("return_all drops a task with a stored failure: no dead letter", _FAIL),
    "acknowledge before the dead letter": ("Celery's own order at a failure", _FAIL),
    "retry removes first": ("_RETRY is two steps: remove the letter, then push", _FAIL),
    "back under the old name": ("a worker that lost its lease keeps its name", _PAUSE),
    "acknowledgements move to the new name": ("old numbers count under the new name", LONG[3]),
    "a lost owner is not buried": ("RENEW forgets whose messages are to be returned", _KILL),
    "forget an owner with messages": ("_FORGET does not look for messages", _KILL),
}

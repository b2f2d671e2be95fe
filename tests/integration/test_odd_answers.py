"""Whatever stands on a client's reply stream, whoever waits there gets the answer, or an error."""

import threading
import time

import pytest

from shared.broker.connections import store
from shared.calls import codec, inbox
from shared.calls.outcomes import Outcome, Outcomes, encode_outcomes
from shared.errors import NotPortable
from shared.futures import ProcessPoolExecutor
from shared.multiprocessing import Pool, Process
from tests.support import patient, wait_until

ODD = [
    {"x": "y"},
    {b"\xff": b"\xff"},
    {"id": b"\xff", "outcome": b""},
    {"id": b"", "outcome": b"\xc1"},
    {"id": "nobody", "outcome": b"\xc1"},
    {"id": "nobody", "news": b"\xc1"},
    {"id": "nobody", "out": b"\xff"},
    {"id": "nobody", "news": b"", "outcome": b"", "out": b""},
]
# Of a call of one item that is still out.
NO_OUTCOMES = [
    b"",
    b"\xc1",
    b"\x90" * 5_000,
    codec.dumps(None),
    codec.dumps([]),
    codec.dumps([[], {}, 0.0]),
    codec.dumps([[1, 2], {}, 0.0]),
    codec.dumps([[1], {0: ["", False]}, 0.0]),
    codec.dumps([[ValueError()], {7: ["", False]}, 0.0]),
    codec.dumps([[ValueError()], {0: 7}, 0.0]),
    codec.dumps([[1], {}, "long"]),
    codec.dumps({1: 2}),
]


def add(*entries):
    for entry in entries:
        store().xadd(inbox.inbox().name, entry)


def out():
    return next(iter(inbox.inbox()._waiting))


@pytest.fixture(autouse=True)
def _alone(stack):
    wait_until(lambda: not inbox.inbox()._waiting, what="the end of other calls")


def test_entries_that_answer_nobody_keep_no_answer_from_anybody():
    with Pool(2, kind="threads") as pool:
        waiting = pool.map_async(time.sleep, [0.5, 0.5])
        add(*ODD)
        assert waiting.get(patient(30)) == [None, None]
        add(*ODD)
        assert pool.map(abs, [-1, 2]) == [1, 2]


@pytest.mark.parametrize("payload", NO_OUTCOMES, ids=range(len(NO_OUTCOMES)))
def test_an_answer_that_holds_no_outcomes_is_an_error_of_its_call(payload):
    with Pool(1, kind="threads") as pool:
        waiting = pool.apply_async(time.sleep, (0.5,))
        wait_until(lambda: inbox.inbox()._waiting, what="the call")
        add({"id": out(), "outcome": payload})

        with pytest.raises(NotPortable):
            waiting.get(patient(10))


def test_a_future_and_a_process_end_with_an_answer_that_holds_no_outcome(capfd):
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit(time.sleep, 0.5)
        wait_until(lambda: inbox.inbox()._waiting, what="the call")
        add({"id": out(), "outcome": b"\xc1"})
        with pytest.raises(NotPortable):
            future.result(patient(10))

    process = Process(target=time.sleep, args=(0.5,), kind="threads")
    process.start()
    call_id = out()
    add({"id": call_id, "news": b"\xc1"}, {"id": call_id, "news": codec.dumps(7)})
    add({"id": call_id, "outcome": codec.dumps([["text"], {}, 0.0])})
    process.join(patient(10))

    assert process.exitcode == 1


def test_the_reading_thread_survives_an_error_of_its_own_and_tells_everybody(monkeypatch):
    failing = threading.Event()

    def read(self, wait_s):
        if failing.is_set():
            failing.clear()
            raise ZeroDivisionError("on purpose")
        return whole(self, wait_s)

    whole = inbox.Inbox._read
    monkeypatch.setattr(inbox.Inbox, "_read", read)
    with Pool(1, kind="threads") as pool:
        waiting = pool.apply_async(time.sleep, (2,))
        wait_until(lambda: inbox.inbox()._waiting, what="the call")
        failing.set()
        add({"id": "nobody", "out": "x"})
        with pytest.raises(ZeroDivisionError):
            waiting.get(patient(10))

        assert pool.apply(abs, (-3,)) == 3


def test_an_answer_for_more_items_than_were_sent_reaches_no_other_item():
    with Pool(1, kind="threads") as pool:
        waiting = pool.map_async(time.sleep, [0.5, 0.6], chunksize=1)
        wait_until(lambda: inbox.inbox()._waiting, what="the call")
        add({"id": out(), "outcome": encode_outcomes(Outcomes.of(*[Outcome(True, 7)] * 3))})

        with pytest.raises(NotPortable):
            waiting.get(patient(30))

"""Queues: exact under many producers and consumers, under kills, and on lost answers."""

import logging
import logging.handlers
import os
import queue
import random
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NotPortable
from shared.handles import leases, scripts
from shared.multiprocessing import items, queues
from shared.multiprocessing.queues import JoinableQueue, Queue, SimpleQueue
from shared.multiprocessing.synchronize import Event
from tests.handles.processes import fork, join, spawn, start
from tests.handles.redis_only import redis_only, short_leases
from tests.support import leased, patient, wait_until

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only", "short_leases"]


def echo(inbox, outbox):
    outbox.put((os.getpid(), inbox.get()))


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
@pytest.mark.parametrize("kind", [Queue, JoinableQueue, SimpleQueue])
def test_a_queue_goes_to_a_local_process_and_back(kind, context):
    inbox, outbox = kind(), kind()
    process = start(context, echo, inbox, outbox)

    inbox.put({"a": (1, {2})})
    answer = outbox.get()
    join(process)

    assert answer == (process.pid, {"a": (1, {2})})


def test_a_queue_travels_inside_a_queue():
    outer, inner = Queue(), Queue(3)
    outer.put([("the queue", inner)])

    ((_, arrived),) = outer.get()
    arrived.put("x")

    assert type(arrived) is Queue
    assert inner.get(timeout=1) == "x"
    assert arrived._size == 3


def test_log_records_go_through_a_queue_as_in_the_logging_cookbook():
    q, heard = Queue(), []
    log = logging.getLogger("tests.cookbook")
    log.addHandler(logging.handlers.QueueHandler(q))
    listener = logging.Handler()
    listener.emit = heard.append

    log.warning("%s went %d times", "it", 3, extra={"request": {7}})
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("failed")
    for _ in range(2):
        listener.handle(q.get(timeout=5))

    assert [type(record) for record in heard] == [logging.LogRecord] * 2
    assert heard[0].getMessage() == "it went 3 times"
    assert heard[0].request == {7}
    assert "ValueError: inside" in heard[1].getMessage()


def test_what_cannot_travel_is_refused_at_the_put():
    q = Queue(1)

    with pytest.raises(NotPortable):
        q.put(lambda: None)

    assert q.empty()


@given(
    size=st.integers(0, 3),
    steps=st.lists(st.sampled_from(["put", "get", "qsize", "full", "empty"]), max_size=40),
)
def test_a_queue_behaves_as_the_local_one(redis_only, size, steps):
    ours, model = Queue(size), queue.Queue(size)
    numbers = iter(range(100))

    def outcome(target, step, number):
        try:
            if step == "put":
                return target.put(number, block=False)
            if step == "get":
                return target.get(block=False)
            return getattr(target, step)()
        except (queue.Full, queue.Empty) as error:
            return type(error)

    for step in steps:
        number = next(numbers)
        assert outcome(ours, step, number) == outcome(model, step, number)


@pytest.mark.parametrize("timeout", [0, 0.05, 0.31, -1])
def test_timeouts_are_as_long_as_asked_for(timeout):
    empty, full = Queue(), Queue(1)
    full.put(1)

    began = time.monotonic()
    with pytest.raises(queue.Empty):
        empty.get(timeout=timeout)
    waited = time.monotonic() - began
    began = time.monotonic()
    with pytest.raises(queue.Full):
        full.put(2, timeout=timeout)
    waited_full = time.monotonic() - began

    assert max(0, timeout) <= waited < max(0, timeout) + patient(1)
    assert max(0, timeout) <= waited_full < max(0, timeout) + patient(1)
    assert full.qsize() == 1
    assert full.get() == 1
    assert full.empty()


def test_a_blocked_get_wakes_at_the_put():
    there, back = Queue(), Queue()
    process = start(fork, echo_times, there, back, 200)
    delays = []
    for _ in range(200):
        time.sleep(0.003)
        there.put(time.monotonic())
        delays.append(back.get())
    join(process)

    delays.sort()
    print(
        f"a blocked get woke after {delays[100] * 1000:.2f} ms (median), {delays[-1] * 1000:.1f} at most"
    )
    assert delays[100] < 0.5  # a look every second would be slower


def echo_times(there, back, count):
    for _ in range(count):
        sent = there.get()
        back.put(time.monotonic() - sent)


def test_waiting_does_not_poll(redis_only):
    q = Queue()
    waiter = threading.Thread(target=q.get)
    waiter.start()
    time.sleep(0.2)

    before = redis_only.requests()
    time.sleep(1.5)
    after = redis_only.requests()
    q.put(None)
    waiter.join(patient(5))

    assert after - before < 10


def test_getters_are_served_in_the_order_of_waiting():
    q, served = Queue(), []

    def take(number):
        served.append((number, q.get()))

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        time.sleep(0.1)
    for item in range(5):
        q.put(item)
        time.sleep(0.05)
    for thread in threads:
        thread.join(patient(5))

    assert served == [(n, n) for n in range(5)]


def test_blocked_putters_come_in_by_the_order_of_waiting():
    q = Queue(1)
    q.put("first")
    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=q.put, args=(number,)))
        threads[-1].start()
        time.sleep(0.1)

    got = [q.get(timeout=patient(5)) for _ in range(6)]
    for thread in threads:
        thread.join(patient(5))

    assert got == ["first", 0, 1, 2, 3, 4]


def test_room_lets_a_blocked_put_go_on_at_once():
    q, done = Queue(1), []
    q.put(0)
    thread = threading.Thread(target=lambda: (q.put(1), done.append(time.monotonic())))
    thread.start()
    time.sleep(0.3)

    q.get()
    freed = time.monotonic()
    thread.join(patient(5))

    assert done[0] - freed < patient(0.5)


def produce(q, producer, count, seed):
    chance = random.Random(seed)
    for number in range(count):
        while True:
            try:
                q.put((producer, number), timeout=chance.choice([None, 0.001, 0.01, 0.1]))
                break
            except queue.Full:
                pass


def consume(q, out, seed):
    chance = random.Random(seed)
    while True:
        try:
            item = q.get(timeout=chance.choice([None, 0.001, 0.01, 0.1]))
        except queue.Empty:
            continue
        if item is None:
            return
        out.put((os.getpid(), item))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [0, 1, 7])
def test_nothing_is_lost_doubled_or_out_of_order(size, seed):
    q, out = Queue(size), Queue()
    producers = [start(fork, produce, q, n, 150, seed * 100 + n) for n in range(3)]
    consumers = [start(fork, consume, q, out, seed * 200 + n) for n in range(3)]

    join(*producers)
    for _ in consumers:
        q.put(None)
    join(*consumers)
    got = [out.get(timeout=patient(5)) for _ in range(450)]

    assert out.empty()
    assert q.empty()
    assert sorted(item for _, item in got) == [(n, i) for n in range(3) for i in range(150)]
    for consumer in consumers:
        for producer in range(3):
            mine = [i for pid, (n, i) in got if pid == consumer.pid and n == producer]
            assert mine == sorted(mine)


@pytest.mark.parametrize("size", [0, 2])
def test_a_killed_consumer_loses_no_more_than_it_had_in_hand(size):
    chance = random.Random(size)
    q, out = Queue(size), Queue()
    producers = [start(fork, produce, q, n, 200, n) for n in range(2)]
    consumers = [start(fork, consume, q, out, n) for n in range(3)]
    kills = 0

    while any(process.is_alive() for process in producers):
        time.sleep(chance.random() * 0.05)
        victim = chance.randrange(3)
        os.kill(consumers[victim].pid, signal.SIGKILL)
        consumers[victim].join()
        consumers[victim] = start(fork, consume, q, out, kills)
        kills += 1
    wait_until(q.empty)
    for _ in consumers:
        q.put(None)
    join(*consumers)
    got = []
    while not out.empty():
        got.append(out.get()[1])

    print(f"{kills} consumers killed, {400 - len(got)} of 400 items were in their hands")
    assert len(set(got)) == len(got)
    assert len(got) >= 400 - kills


def test_a_killed_putter_blocks_nobody():
    q = Queue(1)
    q.put("old")
    victim = start(fork, q.put, "of the victim")
    wait_until(lambda: len_of(q, ":pending"))
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()

    other = threading.Thread(target=q.put, args=("new",))
    other.start()
    got = [q.get(timeout=patient(5)), q.get(timeout=patient(5)), q.get(timeout=patient(5))]
    other.join(patient(5))

    assert got == ["old", "of the victim", "new"]


def len_of(q, suffix):
    from shared.broker.connections import store

    return store().llen(q._name + suffix)


def test_a_get_whose_answer_was_lost_finds_the_item_in_its_hand(monkeypatch):
    q, got = Queue(), []

    def lose_the_answer(*arguments, **options):
        assert scripts.block(*arguments, **options) is not None

    monkeypatch.setattr(queues, "block", lose_the_answer)
    for number in range(3):
        threading.Timer(0.1, q.put, (number,)).start()
        got.append(q.get())

    assert got == [0, 1, 2]


def test_a_get_survives_that_its_connection_is_cut(redis_only):
    """While the getter waits, again and again."""
    q, got = Queue(), []

    def take():
        got.extend(q.get() for _ in range(200))

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(200):
        for client in redis_only.client.client_list():
            if client["cmd"] == "blmove":
                redis_only.client.client_kill(client["addr"])
        q.put(number)
    thread.join(patient(60))

    assert got == list(range(200))


def test_a_put_that_is_sent_twice_counts_once():
    q = Queue()
    item = items.encode("x")
    real, scripts._requests = scripts._requests, iter([10**9, 10**9])
    try:
        queues._PUT(q._name, item, 0, "")
        queues._PUT(q._name, item, 0, "")
    finally:
        scripts._requests = real

    assert q.qsize() == 1


def test_an_interrupted_get_puts_its_item_back():
    q = Queue()

    def interrupt():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        q.get()
    thread.join()
    q.put(1)

    assert q.get(timeout=1) == 1


def work_off(q):
    while True:
        if q.get() is None:
            q.task_done()
            return
        time.sleep(0.01)
        q.task_done()


def test_join_waits_for_every_task_done():
    q = JoinableQueue()
    workers = [start(fork, work_off, q) for _ in range(2)]
    for number in range(20):
        q.put(number)

    q.join()
    done = time.monotonic()
    left = q.qsize()
    for _ in workers:
        q.put(None)
    q.join()
    join(*workers)

    assert left == 0
    assert time.monotonic() - done < patient(5)
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_a_closed_queue_refuses():
    q = Queue()
    with pytest.raises(AssertionError, match="not closed"):
        q.join_thread()
    q.close()
    q.join_thread()
    q.cancel_join_thread()

    with pytest.raises(ValueError, match="is closed"):
        q.put(1)
    with pytest.raises(ValueError, match="is closed"):
        q.get()


def test_what_nobody_uses_disappears_and_what_is_used_stays(short_leases):
    used, unused = Queue(), Queue()
    used.put("x")
    unused.put("x")
    client, name = short_leases.client, unused._name
    del unused

    time.sleep(leased(1))
    assert client.exists(f"{name}:items")
    wait_until(lambda: not client.keys(f"{name}*"), leased(5))
    time.sleep(leased(3))

    assert used.get_nowait() == "x"


def test_a_queue_in_a_queue_stays_while_the_outer_one_does(short_leases):
    outer, inner, innermost = Queue(), Queue(), Queue()
    innermost.put("deep")
    inner.put(innermost)
    outer.put(inner)
    names = [inner._name, innermost._name]
    del inner, innermost

    time.sleep(leased(5))
    arrived = outer.get().get()

    assert arrived.get_nowait() == "deep"
    del arrived
    wait_until(lambda: not any(short_leases.client.keys(f"{n}*") for n in names), leased(6))


def test_a_queue_that_was_taken_out_is_not_kept_by_the_outer_one(short_leases):
    outer, reply = Queue(), Queue()
    reply.put(1)
    outer.put(reply)
    name = reply._name
    del reply
    outer.get()

    assert short_leases.client.hlen(f"{outer._name}:refs") == 0
    wait_until(lambda: not short_leases.client.keys(f"{name}*"), leased(5))


def test_a_queue_of_a_killed_process_disappears(short_leases):
    names = Queue()

    process = start(fork, make_and_wait, names)
    name = names.get(timeout=patient(5))
    time.sleep(leased(3))
    held = bool(short_leases.client.keys(f"{name}*"))
    process.kill()
    process.join()

    assert held
    wait_until(lambda: not short_leases.client.keys(f"{name}*"), leased(5))


def make_and_wait(names):
    q = Queue()
    q.put(1)
    names.put(q._name)
    Event().wait(patient(60))


def test_renewal_follows_a_cycle_once(redis_only):
    a, b = Queue(), Queue()
    a.put(b)
    b.put(a)

    leases.renew([a._name])

    assert redis_only.client.pttl(f"{b._name}:items") > 0

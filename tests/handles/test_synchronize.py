"""Locks, semaphores, conditions, events and barriers: exact, fair, and alive after a kill."""

import itertools
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest

from shared.calls import codec
from shared.errors import LockLost
from shared.multiprocessing.barriers import Barrier
from shared.multiprocessing.queues import Queue
from shared.multiprocessing.synchronize import (
    BoundedSemaphore,
    Condition,
    Event,
    Lock,
    RLock,
    Semaphore,
)
from tests.handles.processes import fork, join, spawn, start
from tests.handles.redis_only import redis_only, short_leases, with_environment
from tests.support import leased, patient, wait_until

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only", "short_leases"]


def waiting(handle, count):
    """Whether so many stand in line."""
    from shared.broker.connections import store

    return store().llen(f"{handle._name}:line") >= count


# Locks.


def report_numbers(lock, out, turns, begin):
    begin.wait()
    events = []
    for _ in range(turns):
        with lock:
            events.append((time.monotonic(), lock.fencing_number))
            events.append((time.monotonic(), None))
    out.put(events)


def test_a_thousand_hand_overs_among_twenty_waiters():
    lock, out, begin = Lock(), Queue(), Event()
    processes = [start(fork, report_numbers, lock, out, 50, begin) for _ in range(20)]
    wait_until(lambda: waiting(begin, 20))

    begin.set()
    events = sorted(event for _ in processes for event in out.get(timeout=patient(60)))
    join(*processes)

    entered = [number for _, number in events[::2]]
    gaps = [
        later[0] - earlier[0] for earlier, later in zip(events[1::2], events[2::2], strict=False)
    ]
    print(
        f"hand-over: {statistics.median(gaps) * 1000:.2f} ms (median), {max(gaps) * 1000:.0f} at most"
    )
    assert None not in entered, "two were inside at once"
    assert all(number is None for _, number in events[1::2])
    assert entered == sorted(set(entered))
    assert statistics.median(gaps) < 0.5  # a look every second would be slower


def take_turns(lock, inside, out, seed):
    """Acquire with all sorts of timeouts; be killed at any moment."""
    chance = random.Random(seed)
    entered = 0
    until = time.monotonic() + 3
    while time.monotonic() < until:
        if not lock.acquire(timeout=chance.choice([None, 0, 0.001, 0.01, 0.2])):
            continue
        number = lock.fencing_number
        with inside.get_lock():
            alone = inside.value in (0, -1)
            inside.value = os.getpid()
        time.sleep(chance.random() * 0.005)
        with inside.get_lock():
            alone = alone and inside.value == os.getpid()
            inside.value = 0
        lock.release()
        out.put((number, alone))
        entered += 1
    return entered


def test_never_two_holders_whatever_the_timeouts():
    lock, out = Lock(), Queue()
    inside = fork.Value("i", 0)
    processes = [start(fork, take_turns, lock, inside, out, seed) for seed in range(6)]

    join(*processes)
    turns = [out.get() for _ in range(out.qsize())]
    numbers = [number for number, _ in turns]

    assert len(turns) > 50
    assert all(alone for _, alone in turns)
    assert len(set(numbers)) == len(numbers)


def test_never_two_holders_though_some_are_killed(short_leases):
    chance = random.Random(7)
    lock, out = Lock(), Queue()
    inside = fork.Value("i", 0)
    processes = [start(fork, take_turns_marked, lock, inside, out, seed) for seed in range(5)]

    for victim in processes[:3]:
        time.sleep(0.3 + chance.random() * 0.3)
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    join(*processes)
    turns = [out.get() for _ in range(out.qsize())]

    assert len(turns) > 20
    assert [alone for _, alone in turns if not alone] == []
    assert lock.acquire(timeout=patient(5))
    assert lock.fencing_number > max(number for number, _ in turns)
    lock.release()


def take_turns_marked(lock, inside, out, seed):
    """As `take_turns`, without another lock that a killed holder would leave locked."""
    chance = random.Random(seed)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        if not lock.acquire(timeout=chance.choice([None, 0, 0.01, 0.2])):
            continue
        me = inside.get_obj().value = os.getpid()
        time.sleep(chance.random() * 0.01)
        alone = inside.get_obj().value == me
        out.put((lock.fencing_number, alone))
        lock.release()


def hold(lock, holding):
    lock.acquire()
    holding.set()
    time.sleep(60)


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_a_killed_holder_frees_the_lock_within_its_lease(short_leases, kind):
    lock, holding = kind(), Event()
    holder = start(fork, hold, lock, holding)
    holding.wait()
    time.sleep(leased(2.5))  # longer than the lease: it is renewed
    kept = not lock.acquire(False)
    holder.kill()
    holder.join()

    began = time.monotonic()
    acquired = lock.acquire(timeout=patient(10))
    took = time.monotonic() - began
    lock.release()

    assert kept
    assert acquired
    assert took < leased(3)


def hold_and_tell(lock, out):
    lock.acquire()
    out.put(lock.fencing_number)
    time.sleep(0.5)  # stopped meanwhile
    try:
        lock.release()
    except LockLost as error:
        out.put(type(error).__name__)
    else:
        out.put("released")


@pytest.mark.parametrize("taken_meanwhile", [True, False])
def test_a_holder_that_was_paused_too_long_learns_that_it_lost_the_lock(
    short_leases, taken_meanwhile
):
    lock, out = Lock(), Queue()
    holder = start(fork, hold_and_tell, lock, out)
    number = out.get(timeout=patient(5))
    os.kill(holder.pid, signal.SIGSTOP)
    if taken_meanwhile:
        assert lock.acquire(timeout=patient(5))
        later = lock.fencing_number
    else:
        time.sleep(leased(2))
        later = number + 1
    os.kill(holder.pid, signal.SIGCONT)

    told = out.get(timeout=patient(5))
    join(holder)

    assert told == "LockLost"
    assert later > number
    if taken_meanwhile:
        lock.release()  # the other's failed release took nothing away


def test_a_lock_whose_waiter_was_killed_goes_to_the_next():
    lock = Lock()
    lock.acquire()
    victims = [start(fork, lock.acquire) for _ in range(3)]
    wait_until(lambda: waiting(lock, 3))
    for victim in victims:
        victim.kill()
        victim.join()
    got = []
    thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=patient(20))))
    thread.start()
    wait_until(lambda: waiting(lock, 4))

    began = time.monotonic()
    lock.release()
    thread.join()
    took = time.monotonic() - began
    lock.release()

    print(f"past three killed waiters in {took:.2f} s")
    assert got == [True]
    assert took < patient(8)


def test_waiters_are_served_in_the_order_of_waiting():
    lock, served = Lock(), []
    lock.acquire()

    def take(number):
        with lock:
            served.append(number)

    threads = []
    for number in range(6):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        wait_until(lambda: waiting(lock, number + 1))  # noqa: B023 - called at once
    lock.release()
    for thread in threads:
        thread.join(patient(5))

    assert served == list(range(6))


def test_a_lock_may_be_released_by_another_process():
    lock = Lock()
    first = start(fork, lock.acquire)
    join(first)

    lock.release()

    assert lock.acquire(False)
    lock.release()
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()


def test_a_lock_works_as_a_signal_between_two():
    """Each acquires, the other releases: nobody lost a lock."""
    ping, pong = Lock(), Lock()
    ping.acquire()
    pong.acquire()
    other = start(fork, answer_pings, ping, pong, 20)

    for _ in range(20):
        ping.release()
        assert pong.acquire(timeout=patient(5))
    join(other)

    assert other.exitcode == 0


def answer_pings(ping, pong, times):
    for _ in range(times):
        ping.acquire()
        pong.release()


def test_a_timeout_is_as_long_as_asked_for():
    lock = Lock()
    lock.acquire()

    for timeout in (0, -1, 0.05, 0.3, 1.2):
        began = time.monotonic()
        acquired = lock.acquire(timeout=timeout)
        took = time.monotonic() - began
        assert not acquired
        assert max(0, timeout) <= took < max(0, timeout) + patient(1)
    lock.release()


def test_waiting_for_a_lock_does_not_poll(redis_only):
    lock = Lock()
    lock.acquire()
    waiter = threading.Thread(target=lambda: lock.acquire() and lock.release())
    waiter.start()
    wait_until(lambda: waiting(lock, 1))

    before = redis_only.requests()
    time.sleep(2)
    after = redis_only.requests()
    lock.release()
    waiter.join(patient(5))

    assert after - before < 10  # a look a second, and the leases


def test_an_interrupted_waiter_leaves_the_line():
    lock = Lock()
    lock.acquire()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        lock.acquire()

    assert not waiting(lock, 1)
    lock.release()
    assert lock.acquire(False)
    lock.release()


def test_an_rlock_counts_its_owners_acquisitions():
    lock, seen = RLock(), []
    assert lock.acquire()
    assert lock.acquire()

    def other():
        seen.append(lock.acquire(False))
        try:
            lock.release()
        except AssertionError:
            seen.append("not mine")

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    lock.release()
    still = threading.Thread(target=other)
    still.start()
    still.join()
    lock.release()

    assert seen == [False, "not mine"] * 2
    with pytest.raises(AssertionError):
        lock.release()


def test_two_handles_of_one_rlock_are_one_lock():
    lock = RLock()
    twin = codec.loads(codec.dumps(lock))

    with lock, twin:
        inner = lock._count()

    assert inner == 2
    assert lock._free() == 1


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
@pytest.mark.parametrize("make", [Lock, RLock, Semaphore, BoundedSemaphore])
def test_mutual_exclusion_with_local_processes(make, context):
    lock, counter = make(), Queue()
    counter.put(0)
    processes = [start(context, count_up, lock, counter, 10) for _ in range(2)]

    join(*processes)

    assert counter.get() == 20


def count_up(lock, counter, times):
    for _ in range(times):
        with lock:
            value = counter.get()
            time.sleep(0.001)
            counter.put(value + 1)


def test_how_they_look():
    lock = Lock()

    assert repr(lock) == "<Lock(owner=None)>"
    with lock:
        assert repr(lock) == "<Lock(owner=MainProcess)>"
    assert repr(Semaphore(3)) == "<Semaphore(value=3)>"
    assert repr(BoundedSemaphore(3)) == "<BoundedSemaphore(value=3, maxvalue=3)>"
    assert repr(RLock()) == "<RLock(None, 0)>"


# Semaphores.


def test_a_semaphore_lets_so_many_in_and_is_a_signal():
    semaphore = Semaphore(2)

    got = [semaphore.acquire(False) for _ in range(3)]
    semaphore.release()
    semaphore.release()
    semaphore.release()

    assert got == [True, True, False]
    assert semaphore.get_value() == 3


def test_a_bounded_semaphore_refuses_one_too_many():
    semaphore = BoundedSemaphore(1)

    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()

    assert semaphore.get_value() == 1
    with pytest.raises(ValueError):
        Semaphore(-1)


def test_a_permit_handed_to_a_killed_waiter_goes_on():
    semaphore = Semaphore(0)
    victim = start(fork, semaphore.acquire)
    wait_until(lambda: waiting(semaphore, 1))
    victim.kill()
    victim.join()

    semaphore.release()

    assert semaphore.acquire(timeout=patient(10))
    assert semaphore.get_value() == 0


# Conditions.


def wait_and_tell(condition, out, timeout=None):
    with condition:
        out.put("waiting")
        out.put(condition.wait(timeout))


def test_notify_wakes_as_many_as_asked_for():
    condition, out = Condition(), Queue()
    processes = [start(fork, wait_and_tell, condition, out) for _ in range(4)]
    assert [out.get(timeout=patient(10)) for _ in range(4)] == ["waiting"] * 4
    wait_until(lambda: condition._waiters() == 4)

    with condition:
        condition.notify(3)
    first = [out.get(timeout=patient(5)) for _ in range(3)]
    time.sleep(0.3)
    none_more = out.empty()
    with condition:
        condition.notify_all()
    last = out.get(timeout=patient(5))
    join(*processes)

    assert first == [True] * 3
    assert none_more
    assert last is True


def test_a_killed_waiter_does_not_swallow_the_notification():
    condition, out = Condition(Lock()), Queue()
    victim = start(fork, wait_and_tell, condition, out)
    out.get(timeout=patient(5))
    wait_until(lambda: condition._waiters() == 1)
    survivor = start(fork, wait_and_tell, condition, out)
    out.get(timeout=patient(5))
    wait_until(lambda: condition._waiters() == 2)
    victim.kill()
    victim.join()

    with condition:
        condition.notify()

    assert out.get(timeout=patient(10)) is True
    join(survivor)


def test_a_condition_wants_its_lock():
    condition = Condition()

    with pytest.raises(AssertionError, match="must acquire"):
        condition.wait()
    with pytest.raises(AssertionError, match="not owned"):
        condition.notify()


def test_a_wait_gives_back_and_regains_a_lock_held_twice():
    condition = Condition()
    with condition, condition:
        free_meanwhile = []
        thread = threading.Thread(target=lambda: free_meanwhile.append(try_lock(condition)))
        threading.Timer(0.1, thread.start).start()
        woken = condition.wait(0.6)
        count = condition._lock._count()
    thread.join()

    assert not woken
    assert free_meanwhile == [True]
    assert count == 2


def try_lock(condition):
    got = condition.acquire(timeout=0.3)
    if got:
        condition.release()
    return got


def test_wait_for_waits_for_its_predicate():
    condition, state = Condition(), []

    def work():
        for number in range(3):
            time.sleep(0.05)
            with condition:
                state.append(number)
                condition.notify()

    thread = threading.Thread(target=work)
    thread.start()
    with condition:
        done = condition.wait_for(lambda: len(state) == 3, timeout=patient(10))
        late = condition.wait_for(lambda: len(state) == 4, timeout=0.2)
    thread.join()

    assert done
    assert not late


# Events.


def test_an_event_wakes_all_and_lets_later_ones_through():
    event, out = Event(), Queue()
    processes = [start(context, tell_event, event, out) for context in (fork, fork, spawn)]
    wait_until(lambda: waiting(event, 3))

    event.set()
    woken = [out.get(timeout=patient(5)) for _ in processes]
    join(*processes)

    assert woken == [True] * 3
    assert event.wait()
    event.clear()
    assert not event.wait(0.05)
    assert not event.is_set()
    assert not waiting(event, 1)


def tell_event(event, out):
    out.put(event.wait(patient(10)))


# Barriers.


def pass_often(barrier, out, times):
    for turn in range(times):
        out.put((turn, barrier.wait()))


def test_a_barrier_passes_all_in_lockstep():
    barrier, out = Barrier(4), Queue()
    processes = [start(fork, pass_often, barrier, out, 50) for _ in range(4)]

    join(*processes)
    passed = [out.get() for _ in range(200)]

    assert sorted(passed) == [(turn, index) for turn in range(50) for index in range(4)]
    # Nobody can be two turns ahead of anybody.
    assert all(abs(a[0] - b[0]) <= 1 for a, b in itertools.pairwise(passed))


def test_the_action_runs_once_before_anybody_passes():
    ran = []
    barrier = Barrier(2, action=lambda: ran.append(time.sleep(0.3)))
    seen = []
    threads = [
        threading.Thread(target=lambda: (barrier.wait(), seen.append(len(ran)))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(5))

    assert seen == [1, 1]


def test_a_failing_action_breaks_the_barrier():
    barrier, errors = Barrier(2, action=lambda: 1 / 0), []

    def enter():
        try:
            barrier.wait()
        except (ZeroDivisionError, threading.BrokenBarrierError) as error:
            errors.append(type(error))

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(5))

    assert set(errors) == {ZeroDivisionError, threading.BrokenBarrierError}
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken


def test_a_late_one_breaks_the_barrier_for_all():
    barrier, errors = Barrier(3), []

    def enter(timeout):
        try:
            barrier.wait(timeout)
        except threading.BrokenBarrierError:
            errors.append(timeout)

    threads = [threading.Thread(target=enter, args=(t,)) for t in (None, 0.3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(5))

    assert sorted(errors, key=str) == [0.3, None]
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def test_reset_sends_the_waiting_away_and_starts_anew():
    barrier, errors = Barrier(2), []

    def enter():
        try:
            barrier.wait()
        except threading.BrokenBarrierError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    wait_until(lambda: barrier.n_waiting == 1)
    barrier.reset()
    thread.join(patient(5))

    assert len(errors) == 1
    assert not barrier.broken
    assert barrier.n_waiting == 0


def test_a_killed_waiter_counts_no_more():
    barrier, out = Barrier(2), Queue()
    victim = start(fork, barrier.wait)
    wait_until(lambda: barrier.n_waiting == 1)
    victim.kill()
    victim.join()
    time.sleep(3.2)  # its seat

    processes = [start(fork, pass_often, barrier, out, 1) for _ in range(2)]
    join(*processes)

    assert sorted(out.get() for _ in range(2)) == [(0, 0), (0, 1)]


# Leases.


@pytest.mark.parametrize("make", [Lock, Semaphore, Condition, Event, lambda: Barrier(2)])
def test_nothing_is_left_of_what_nobody_uses(short_leases, make):
    handle = make()
    for use in ("acquire", "set", "abort"):
        if hasattr(handle, use):
            getattr(handle, use)()
    name = handle._name
    assert short_leases.client.keys("*")
    if hasattr(handle, "_lock"):
        name = handle._lock._name
        handle.release()
    elif isinstance(handle, Lock):
        handle.release()
    del handle

    wait_until(lambda: not short_leases.client.keys(f"{name}*"), leased(8))


def test_a_lock_that_is_held_stays_though_its_handle_is_gone(short_leases):
    lock = Lock()
    lock.acquire()
    name = lock._name
    twin = codec.dumps(lock)
    del lock

    time.sleep(leased(4))
    lock = codec.loads(twin)

    assert lock._name == name
    assert not lock.acquire(False)
    lock.release()


def test_a_lease_longer_than_the_handles_own_holds(redis_only):
    before = with_environment({"HANDLE_LEASE_S": str(leased(1)), "LOCK_LEASE_S": str(leased(5))})
    try:
        lock = Lock()
        lock.acquire()
        time.sleep(leased(2.5))
        assert not lock.acquire(False)
        lock.release()
    finally:
        with_environment(before)


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, time
from shared.multiprocessing.queues import Queue
from shared.multiprocessing.synchronize import Lock, RLock

lock, rlock, q, inside, errors = Lock(), RLock(), Queue(2), [], []

def work(number):
    with lock:
        inside.append(number)
        gevent.sleep(0.001)
        assert inside == [number], inside
        inside.clear()
    with rlock, rlock:
        pass
    q.put(number)

def release_anothers():
    try:
        rlock.release()
    except AssertionError as error:
        errors.append(error)

workers = [gevent.spawn(work, number) for number in range(100)]
got = sorted(q.get() for _ in range(100))
gevent.joinall(workers, raise_error=True)
rlock.acquire()
gevent.spawn(release_anothers).join()
began = time.monotonic()
sleepers = [gevent.spawn(q.get) for _ in range(100)]
gevent.sleep(0.3)
for number in range(100):
    q.put(number)
gevent.joinall(sleepers, timeout=10, raise_error=True)
print(got == list(range(100)), len(errors), time.monotonic() - began < 5)
"""


def test_greenlets_wait_without_stopping_each_other():
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
    )

    assert done.stdout.split() == ["True", "1", "True"], done.stderr

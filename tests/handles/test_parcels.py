"""Large arrays lie beside their message: sent once, in pieces, and gone when nobody needs them."""

import gc
import tracemalloc

import pytest

from shared.broker.connections import store
from shared.calls import codec, encoding, parcels
from shared.calls.encoding import Mode
from shared.calls.outcomes import Outcomes, decode_outcomes, encode_outcomes
from shared.errors import DaySixError, HandleLost, MessageTooLarge
from shared.multiprocessing import Manager
from shared.multiprocessing.queues import Queue
from shared.settings import current
from tests.handles.redis_only import redis_only

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.usefixtures("redis_only", "small_messages")
__all__ = ["redis_only"]


@pytest.fixture
def small_messages(redis_only, monkeypatch):
    """A message takes 100 kB, and what is larger than 25 kB lies beside it."""
    monkeypatch.setenv("MESSAGE_LIMIT_BYTES", "100000")
    current.cache_clear()
    parcels._become_another()
    for key in names():
        store().unlink(key)
    yield
    monkeypatch.undo()
    current.cache_clear()


def names():
    return sorted(store().keys("parcel:*"))


def sent(*values):
    return encoding.encode_call(len, Mode.MAP, list(values))[1]


def arrived(payload):
    return codec.loads(payload)[-1]


FIELDS = np.zeros(20_000, [("a", "<i4"), ("b", ">f8")])
FIELDS["a"] = np.arange(20_000)
FIXED = np.arange(20_000)
FIXED.flags.writeable = False
ARRAYS = [
    np.arange(200_000.0),
    np.asfortranarray(np.arange(60_000).reshape(200, 300)),
    np.arange(60_000).reshape(200, 300)[:, ::2],
    np.arange(20_000).astype("M8[s]"),
    FIELDS,
    FIXED,
    np.full((20, 20, 20, 20), b"x", "S3"),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype}{value.shape}")
def test_an_array_larger_than_a_message_arrives_as_it_left(value):
    payload = sent(value)

    (again,) = arrived(payload)

    assert len(payload) < 2_000
    assert len(names()) == 1
    assert again.dtype == value.dtype
    assert (again == value).all()
    assert again.flags.writeable == value.flags.writeable
    assert again.flags.f_contiguous == (
        (value.flags.f_contiguous and value.ndim > 1) or value.ndim == 1
    )


def test_the_same_array_for_many_calls_is_sent_once():
    value = np.arange(20_000)

    payloads = [sent(value, number) for number in range(1_000)]

    assert len(names()) == 1
    assert (arrived(payloads[-1])[0] == value).all()


def test_an_array_that_changed_is_sent_again_and_the_first_call_keeps_the_first():
    value = np.zeros(20_000)

    first = sent(value)
    value[0] = 1
    second = sent(value)

    assert [arrived(payload)[0][0] for payload in (first, second)] == [0, 1]


def test_what_nobody_waits_for_is_deleted_with_the_next_parcel():
    for number in range(5):
        sent(np.full(20_000, number))
        gc.collect()

    assert len(names()) <= 2


def test_each_reader_gets_an_array_of_its_own():
    payload = sent(np.zeros(20_000))

    one, other = arrived(payload)[0], arrived(payload)[0]
    one[0] = 1

    assert other[0] == 0


def test_a_result_is_deleted_when_it_was_read():
    reply = encode_outcomes(Outcomes([np.arange(20_000), 1]))
    before = len(names())

    values = decode_outcomes(reply).values

    assert values[0][-1] == 19_999
    assert (before, len(names())) == (1, 0)


def test_what_lies_in_a_queue_or_a_managed_object_stays():
    queue, shared = Queue(), Manager().dict()

    for number in range(3):
        queue.put(np.full(20_000, number))
        shared[number] = np.full(20_000, number)
        gc.collect()

    assert [queue.get()[0] for _ in range(3)] == [0, 1, 2]
    assert [shared[number][0] for number in (0, 1, 2, 0)] == [0, 1, 2, 0]


def test_where_nobody_keeps_it_a_large_array_is_refused_as_ever():
    with pytest.raises(MessageTooLarge):
        codec.dumps(np.zeros(20_000))


def test_a_parcel_that_is_gone_says_so():
    payload = sent(np.zeros(20_000))
    store().unlink(*names())

    with pytest.raises(HandleLost):
        arrived(payload)


def test_neither_side_needs_much_more_memory_than_the_array(monkeypatch):
    monkeypatch.setattr(parcels, "_PIECE_BYTES", 1 << 20)
    value = np.arange(5_000_000.0)
    sent(np.zeros(20_000)), arrived(sent(np.zeros(20_000)))
    tracemalloc.start()

    payload = sent(value)
    _, sending = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    (again,) = arrived(payload)
    _, receiving = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert again[-1] == value[-1]
    assert sending < 0.2 * value.nbytes
    assert receiving < 1.2 * value.nbytes


@pytest.mark.parametrize("size", [10**12, 200 * 10**6])
def test_a_message_with_a_parcel_that_is_not_there_takes_no_memory(size):
    # Its size is part of the message; what lies in Redis decides.
    forged = codec.dumps([parcels.reopen(parcels.Parcel, None, [size, False])])
    head = b"\x92\x92\xadnumpy:ndarray\x95\xa3|u1\x91" + codec.dumps(size) + b"\xa1C\xc3"
    body = head + forged[1:] + b"\xc0"
    data = b"\xc8" + len(body).to_bytes(2, "big") + b"\x2f" + body
    tracemalloc.start()

    with pytest.raises(HandleLost):
        codec.loads(data)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("name", ["queue:x", "secret", ""])
@pytest.mark.parametrize("size", [5, -1, "5", None])
def test_no_other_key_is_read_as_a_parcel(name, size):
    store().set("secret", "words")

    with pytest.raises((DaySixError, TypeError)):
        parcels.reopen(parcels.Parcel, name or "parcel", [size, True])

    assert store().get("secret") == b"words"

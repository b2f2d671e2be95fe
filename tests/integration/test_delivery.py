"""Connections are cut in the middle of work, and every result still arrives, once."""

import os
import select
import threading
import time

import psutil
import pytest
import redis

from shared import publishing
from shared.broker.connections import ask, connect, store
from shared.calls import inbox, outbox
from shared.multiprocessing import Pool
from shared.pools import PoolKind
from shared.settings import current
from tests.integration import functions as f
from tests.support import patient, wait_until

LONG_S = patient(60)
CUTS = 5


def cut_own_connections(server):
    """Close, from the server's side, all connections of this process but the one that asks."""
    mine = {str(c.laddr.port) for c in psutil.Process().net_connections("tcp") if c.laddr}
    me = server.client_id()
    for connection in server.client_list():
        if connection["addr"].rpartition(":")[2] in mine and int(connection["id"]) != me:
            server.client_kill_filter(_id=connection["id"])


def cut_all_connections(server):
    """Close every connection, the workers' as well."""
    server.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.parametrize("kind", list(PoolKind))
@pytest.mark.parametrize("cut", [cut_own_connections, cut_all_connections])
def test_a_map_whose_connections_are_cut_still_gets_every_result(stack, kind, cut):
    server = store().__class__.from_url(stack.redis_url, single_connection_client=True)
    with Pool(4, kind=kind) as pool:
        waiting = pool.map_async(f.slow, [0.02] * 300, 1)
        done = threading.Event()
        cutter = threading.Thread(target=cut_repeatedly, args=(cut, server, done))
        cutter.start()
        try:
            values = waiting.get(LONG_S)
        finally:
            done.set()
            cutter.join()

        after = pool.map_async(f.double, range(20), 1).get(LONG_S)

    assert values == [0.02] * 300
    assert after == [2 * number for number in range(20)]


def cut_repeatedly(cut, server, done):
    for _ in range(CUTS):
        if done.wait(0.2):
            return
        cut(server)


@pytest.fixture
def queue(stack):
    """The name of a list that no worker looks at."""
    name = f"pushed-{time.monotonic()}"
    yield name
    store().delete(name)


def commands():
    stats = store().info("commandstats")
    return {name: stats[f"cmdstat_{name}"]["calls"] for name in ("set", "lpush")}


def test_many_messages_are_few_commands_and_keep_their_order(queue):
    messages = [f"{number}".encode() for number in range(2_500)]
    publishing.push(queue, messages[:1])
    before = commands()

    pushed = publishing.push(queue, messages[1:])

    assert pushed == 2_499
    assert store().lrange(queue, 0, -1)[::-1] == messages
    assert commands() == {"set": before["set"] + 1, "lpush": before["lpush"] + 3}


def test_a_push_that_is_repeated_counts_once_also_when_the_queue_is_full(queue):
    messages = [b"a", b"b", b"c", b"d"]

    counted = [publishing.push(queue, messages, limit=3, mark=queue) for _ in range(2)]
    other = publishing.push(queue, messages, limit=3)

    assert counted == [3, 3]
    assert other == 0
    assert store().lrange(queue, 0, -1) == [b"c", b"b", b"a"]


def test_a_task_that_did_not_fit_may_be_sent_again(queue):
    publishing.push(queue, [b"full"])
    refused = publishing.push_once(queue, queue, b"once", limit=1, within_s=60)
    store().delete(queue)

    sent = [publishing.push_once(queue, queue, b"once", limit=1, within_s=60) for _ in range(2)]

    assert refused == (False, False)
    assert sent == [(True, False), (True, True)]
    assert store().lrange(queue, 0, -1) == [b"once"]


def test_an_interrupted_question_leaves_no_answer_for_the_next(stack, monkeypatch):
    client = connect(current())
    ask(client, "PING")
    connection = client.connection_pool.borrow()
    client.connection_pool.give_back(connection)

    monkeypatch.setattr(connection, "read_response", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ask(client, "ECHO", "one")
    monkeypatch.undo()

    assert ask(client, "ECHO", "two") == b"two"


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_connection_that_redis_has_closed_is_not_used(stack):
    client = connect(current())
    number = ask(client, "CLIENT", "ID")
    assert ask(store(), "CLIENT", "KILL", "ID", number) == 1
    (connection,) = client.connection_pool._spare
    assert select.select([connection._sock], [], [], 5)[0], "Redis closes it"

    assert ask(client, "CLIENT", "ID") != number


def test_a_forked_child_uses_none_of_its_parents_connections(stack):
    client = connect(current())
    number = ask(client, "CLIENT", "ID")
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(write_end, str(ask(client, "CLIENT", "ID")).encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert int(os.read(read_end, 20)) != number
    assert ask(client, "CLIENT", "ID") == number


def test_an_error_that_redis_answers_is_raised_and_the_next_answer_is_right(stack):
    client = connect(current())

    with pytest.raises(redis.ResponseError, match="unknown command"):
        ask(client, "NO-SUCH-COMMAND")

    assert ask(client, "ECHO", "two") == b"two"


def test_a_callback_that_fails_stops_no_other_answers(stack):
    heard = []
    box = inbox.inbox()
    box.expect("failing", lambda _: 1 / 0, on_news=lambda _: 1 / 0)
    box.expect("other", heard.append)

    outbox.announce(box.name, "failing", b"news")
    outbox.answer(box.name, "failing", b"outcome")
    outbox.answer(box.name, "other", b"outcome")

    wait_until(lambda: heard == [b"outcome"], 10, "the other answer")


@pytest.mark.parametrize("kind", list(PoolKind))
def test_the_results_of_a_killed_worker_come_from_another(stack, kind):
    alive = next(p for p in stack.parts if p.name == kind.value and p.process.poll() is None)
    with Pool(4, kind=kind) as pool:
        results = pool.imap_unordered(f.slow, [0.1] * 60)
        some = [next(results) for _ in range(5)]
        family = psutil.Process(alive.process.pid).children(recursive=True)
        for process in [psutil.Process(alive.process.pid), *family]:
            process.kill()
        stack._start_worker(kind)

        assert some + list(results) == [0.1] * 60


@pytest.mark.parametrize("kind", list(PoolKind))
def test_a_result_that_comes_while_the_client_is_cut_off_is_not_lost(stack, kind):
    server = store().__class__.from_url(stack.redis_url, single_connection_client=True)
    with Pool(2, kind=kind) as pool:
        waiting = pool.apply_async(f.slow, (0.5,))
        deadline = time.monotonic() + 1

        while time.monotonic() < deadline:
            cut_own_connections(server)

        assert waiting.get(LONG_S) == 0.5

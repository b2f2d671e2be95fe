"""What the renewer reads, asks and sees, without a server."""

import os
import time

import pytest
from hiredis import pack_command

from shared.broker import renewer, renewing


def test_it_packs_and_reads_redis_protocol_as_hiredis_does():
    order = [b"add", b"1", b"owners", b"\r\n$3\x00", b""]

    packed = renewer.pack(order)

    assert packed == pack_command(tuple(order))
    assert renewer.parse(packed, 0) == (order, len(packed))
    assert [renewer.parse(packed[:end], 0) for end in range(len(packed))] == [None] * len(packed)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"+OK\r\n", b"OK"),
        (b":12\r\n", 12),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", [1, [b"a"]]),
    ],
)
def test_it_reads_each_kind_of_answer(data, value):
    assert renewer.parse(data, 0) == (value, len(data))


def test_an_error_is_an_answer_of_its_own():
    value, _ = renewer.parse(b"-READONLY no\r\n", 0)

    assert isinstance(value, ValueError)


def test_another_process_of_the_same_number_is_not_the_one_that_was_watched(monkeypatch):
    watched = renewer.Watched(os.getpid())
    monkeypatch.setattr(renewer, "look", lambda _: ("R", "later", 0.0))

    assert watched.state() == "Z"


def test_a_process_is_busy_that_computes_while_none_of_its_threads_has_a_turn():
    watched = renewer.Watched(os.getpid())
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass

    assert not watched.is_busy(for_s=60.0)
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert watched.is_busy(for_s=0.05)


def test_members_share_a_command_as_far_as_the_group_allows():
    group = renewer.Group(1.0, 2, [b"PEXPIRE"])
    for name in (b"a", b"b", b"c"):
        group.add(name, [name])

    assert group.packed() == (
        renewer.pack([b"PEXPIRE", b"a", b"b"]) + renewer.pack([b"PEXPIRE", b"c"]),
        2,
    )


def test_every_order_fits_into_a_pipe_in_one_piece():
    from shared.broker import ownership, presence
    from shared.handles.leases import _RENEW, _RENEW_HOLDS

    for command in (
        ("EVAL", ownership.RENEW.text, 4, *ownership._KEYS),
        ("EVAL", presence._EXTEND.text, 1, "workers"),
        _RENEW.read_command("keeper"),
        _RENEW_HOLDS.read_command("keeper", 10_000),
    ):
        order = ("group", 2**22, "holds", 2.5, 100, *command)
        assert len(pack_command(order)) <= renewing.LARGEST

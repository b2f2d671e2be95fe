"""Which names can be a queue's."""

import pytest

from shared.broker import keys
from shared.broker.keys import is_queue
from shared.pools import PoolKind

NAMES = {name: value for name, value in vars(keys).items() if name.isupper()}


@pytest.mark.parametrize(
    "name", [*(kind.value for kind in PoolKind), "celery", "mine", "a:b", "\N{SNOWMAN}"]
)
@pytest.mark.parametrize("step", ["", "\x06\x163", "\x06\x169"])
def test_a_queue_may_have_any_name_of_its_own(name, step):
    assert is_queue(f"{name}{step}".encode())


@pytest.mark.parametrize(
    "name",
    [
        *(
            value
            for name, value in NAMES.items()
            if not name.startswith("_") and name != "LEASES_LOST"
        ),
        *(f"{value}x" for value in NAMES.values() if isinstance(value, str) and value[-1] in ":-"),
        *("", "unacked", "unacked_index", "_kombu.binding.celery", "\x06\x163"),
        *("x.reply.celery.pidbox", "evil.pidbox", "celeryev.1"),
        *(f"{kind}:{'0' * 32}" for kind in ("queue", "lock", "list")),
        f"queue:{'0' * 32}:data",
    ],
)
def test_no_other_key_is_a_queue(name):
    assert not is_queue(name.encode())

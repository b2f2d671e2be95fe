"""Answers of Redis that mean "not now" are one class of error, wherever they stand."""

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.broker.answers import NoRoom, NotNow, Parser, not_now
from shared.broker.connections import connect, foreseen, store
from shared.errors import BrokerBusy, BrokerFull, BrokerUnavailable
from shared.settings import current
from tests.handles.redis_only import redis_only

pytestmark = pytest.mark.usefixtures("redis_only")
__all__ = ["redis_only"]

IN_REDIS_6 = "ERR Error running script (call to f_1b3): @user_script:1:"
WORDS = (
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "READONLY You can't write against a read only replica. script: 1b3, on @user_script:7.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS Not enough good replicas to write.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "UNBLOCKED force unblock from blocking operation, instance state changed",
    "NOSCRIPT No matching script.",
    "NOQUORUM 1 usable Sentinels. Not able to reach majority",
    "ERR max number of clients reached",
    "ERR max number of clients + cluster connections reached",
    "ERR upstream failure",
    "ERR Connection refused",
    "ERR Connection timed out",
    f"{IN_REDIS_6} @user_script: 1: -READONLY You can't write against a read only replica.",
    f"{IN_REDIS_6} @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
    f"{IN_REDIS_6} Script killed by user with SCRIPT KILL...",
    "EXECABORT Transaction discarded because of: READONLY You can't write against a replica.",
)
OTHERS = (
    "ERR unknown command 'BUSY'",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOPERM User flower has no permissions to run the 'del' command",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "EXECABORT Transaction discarded because of previous errors.",
    "BUSYKEY Target key name already exists.",
    "BUSYGROUP Consumer Group name already exists",
    "GONE",
)


@pytest.mark.parametrize("line", WORDS)
def test_an_answer_that_means_not_now_is_as_good_as_a_lost_connection(line):
    error = not_now(line)

    assert isinstance(error, NotNow)
    assert isinstance(error, redis.ConnectionError)
    assert str(error) == line


@pytest.mark.parametrize("line", OTHERS)
def test_any_other_error_keeps_redis_pys_class(line):
    error = Parser(socket_read_size=1024).parse_error(line)

    assert not_now(line) is None
    assert not isinstance(error, NotNow)
    assert type(error) is type(redis.connection.DefaultParser.parse_error(line))


def at(server, where):
    """A client whose connections speak RESP2 or RESP3."""
    url = f"{server.url}?protocol={where}"
    return redis.Redis.from_url(url, parser_class=Parser, retry=Retry(NoBackoff(), 0))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("line", WORDS)
def test_it_is_raised_from_a_command_a_pipeline_a_transaction_and_a_script(
    redis_only, protocol, line
):
    text = line.replace("\\", "").replace("'", "\\'")
    fails = f"return redis.error_reply('{text}')"

    def command(client):
        client.eval(fails, 0)

    def pipeline(client):
        pipe = client.pipeline(transaction=False)
        pipe.set("before", 1).eval(fails, 0).set("after", 1)
        pipe.execute()

    def transaction(client):
        pipe = client.pipeline(transaction=True)
        pipe.set("before", 1).eval(fails, 0).set("after", 1)
        pipe.execute()

    def inside(client):
        client.eval(f"return {{1, redis.error_reply('{text}'), 2}}", 0)

    with at(redis_only, protocol) as client:
        for ask in (command, pipeline, transaction, inside):
            # A script that is not known counts as redis-py's NoScriptError, too: its pipelines
            # read on after that, over a connection that is closed.
            kind = redis.ConnectionError if line.startswith("NOSCRIPT") else NotNow
            with pytest.raises(kind) as raised:
                ask(client)
            if kind is NotNow:
                assert line.partition(" ")[2][:20] in str(raised.value), ask.__name__
            assert client.ping()


def test_another_client_of_the_same_process_keeps_redis_pys_classes(redis_only):
    with (
        redis.Redis.from_url(redis_only.url) as client,
        pytest.raises(redis.exceptions.ReadOnlyError) as raised,
    ):
        client.eval("return redis.error_reply('READONLY not here')", 0)

    assert not isinstance(raised.value, redis.ConnectionError)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (line, BrokerFull if line.startswith(("OOM", "MISCONF")) else BrokerBusy)
        for line in WORDS[:11]
    ],
)
def test_a_command_says_the_servers_own_word(redis_only, line, kind):
    text = line.replace("'", "\\'")

    with pytest.raises(BrokerUnavailable) as raised, foreseen():
        store().eval(f"return redis.error_reply('{text}')", 0)

    assert type(raised.value) is kind
    assert line.partition(". script")[0].rstrip(".") in str(raised.value)
    assert "password" not in str(raised.value)


def test_a_full_server_is_not_now(redis_only):
    with pytest.raises(NoRoom):
        connect(current()).eval("return redis.error_reply('OOM no')", 0)

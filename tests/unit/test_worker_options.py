"""Options of Celery that a pool cannot keep: refused with status 2, in one line."""

import pytest

from shared.app import app
from shared.pools import PoolKind
from worker import options as checked
from worker.options import POOLS

PREFORK, THREADS, GEVENT = (POOLS[kind] for kind in PoolKind)
NEEDS_PROCESSES = {
    "max_tasks_per_child": 3,
    "max_memory_per_child": 3,
    "soft_time_limit": 3.0,
    "pool_restarts": True,
}
SETTINGS = {
    "max_tasks_per_child": "worker_max_tasks_per_child",
    "max_memory_per_child": "worker_max_memory_per_child",
    "soft_time_limit": "task_soft_time_limit",
    "pool_restarts": "worker_pool_restarts",
}


class Conf(dict):
    """Celery's settings with some changed."""

    def __init__(self, **changed):
        super().__init__(changed)
        self.worker_pool = PREFORK

    def get(self, name):
        return super().get(name, app.conf.get(name))


def refusal(capsys, conf=None, **options):
    with pytest.raises(SystemExit) as ended:
        checked.check(Conf() if conf is None else conf, options)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("pool", [THREADS, GEVENT])
@pytest.mark.parametrize("option", NEEDS_PROCESSES)
def test_what_needs_processes_is_refused_elsewhere(capsys, pool, option):
    value = NEEDS_PROCESSES[option]

    assert "needs processes" in refusal(capsys, pool=pool, **{option: value})
    conf = Conf(**{SETTINGS[option]: value})
    assert "needs processes" in refusal(capsys, conf, pool=pool)
    checked.check(conf, {"pool": PREFORK})


@pytest.mark.parametrize(
    "pool", ["solo", "celery.concurrency.solo:TaskPool", "celery.concurrency.thread:TaskPool"]
)
def test_another_pool_than_ours_is_refused(capsys, pool):
    assert "--pool is one of prefork, threads, gevent" in refusal(capsys, pool=pool)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_limit": -1.0}, "--time-limit -1.0 is less than 0"),
        ({"prefetch_multiplier": -1}, "--prefetch-multiplier -1 is less than 0"),
        ({"max_tasks_per_child": -1}, "--max-tasks-per-child -1 is less than 0"),
        ({"soft_time_limit": 5.0, "time_limit": 2.0}, "5 is more than --time-limit 2"),
        ({"autoscale": (0, 0)}, "--autoscale 0,0: the larger number is at least 1"),
        ({"autoscale": (3, -1)}, "--autoscale 3,-1: the larger number is at least 1"),
        ({"beat": True, "pool": GEVENT}, "celery -A worker beat"),
    ],
)
def test_values_that_do_not_fit_are_refused(capsys, options, said):
    assert said in refusal(capsys, **options)


@pytest.mark.parametrize(
    "setting", ["broker_transport_options", "result_backend_transport_options"]
)
def test_a_prefix_of_all_keys_is_refused(capsys, setting):
    line = refusal(capsys, Conf(**{setting: {"global_keyprefix": "mine:"}}))

    assert setting in line
    assert "global_keyprefix" in line


@pytest.mark.parametrize("setting", ["broker_url", "broker_read_url", "broker_write_url"])
def test_another_broker_than_redis_url_is_refused_without_its_password(capsys, setting):
    conf = Conf()
    setattr(conf, setting, "redis://:secret@elsewhere:6379/1")

    line = refusal(capsys, conf)

    assert "set REDIS_URL" in line
    assert "elsewhere:6379" in line
    assert "secret" not in line


@pytest.mark.parametrize("pool", [PREFORK, THREADS, GEVENT, "prefork", "processes"])
def test_ordinary_options_are_taken(pool):
    checked.offer_pools()

    checked.check(Conf(), {"pool": pool, "time_limit": 3.0, "autoscale": (8, 0), "concurrency": 3})

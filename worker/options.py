"""Refuses Celery options that a pool does not support, before the worker starts.

Celery ignores most of these options, or ends with a traceback. `docs/celery.md` has the whole list.
"""

import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from celery import concurrency
from kombu.utils.imports import symbol_by_name
from kombu.utils.url import maybe_sanitize_url

from shared.app import NO_PREFIX
from shared.pools import PoolKind
from shared.settings import current

# The class of each pool, for Celery's ``--pool``. Celery imports only the chosen one.
POOLS = {kind: f"worker.pools.{kind.value}:TaskPool" for kind in PoolKind}

# Options and settings that only processes support.
_FOR_PROCESSES = {
    "max_tasks_per_child": ("--max-tasks-per-child", "worker_max_tasks_per_child"),
    "max_memory_per_child": ("--max-memory-per-child", "worker_max_memory_per_child"),
    "soft_time_limit": ("--soft-time-limit", "task_soft_time_limit"),
    "pool_restarts": ("worker_pool_restarts", "worker_pool_restarts"),
}
_NOT_NEGATIVE = {
    "time_limit": ("--time-limit", "task_time_limit"),
    "prefetch_multiplier": ("--prefetch-multiplier", "worker_prefetch_multiplier"),
    **_FOR_PROCESSES,
}
_BROKERS = ("broker_url", "broker_read_url", "broker_write_url")
_WITH_PREFIX = ("broker_transport_options", "result_backend_transport_options")


def offer_pools() -> None:
    """Register our pools for ``--pool``. ``processes`` is Celery's alias of prefork."""
    concurrency.ALIASES.update(POOLS)
    concurrency.ALIASES["processes"] = POOLS[PoolKind.PREFORK]


def check(conf: Any, options: dict[str, Any]) -> None:
    """Print one line and exit with status 2 if an option is not supported."""
    for problem in _problems(conf, options):
        _refuse(problem)


def _refuse(problem: str) -> NoReturn:
    print(f"worker: {problem}", file=sys.stderr)  # noqa: T201 - the one line of the refusal
    sys.exit(2)


def _problems(conf: Any, options: dict[str, Any]) -> Iterator[str]:
    pool = options.get("pool") or options.get("pool_cls") or conf.worker_pool
    module = getattr(symbol_by_name(pool, concurrency.ALIASES), "__module__", "")
    kind = next((kind for kind in PoolKind if POOLS[kind].startswith(f"{module}:")), None)
    if kind is None:
        kinds = ", ".join(kind.value for kind in PoolKind)
        yield f"the pool of {module} is not supported; --pool is one of {kinds}"

    def given(name: str, setting: str) -> Any:
        value = options.get(name)
        return conf.get(setting) if value is None else value

    for name, (option, setting) in _NOT_NEGATIVE.items():
        if (given(name, setting) or 0) < 0:
            yield f"{option} {given(name, setting)} is less than 0"
    if kind is not PoolKind.PREFORK:
        for name, (option, setting) in _FOR_PROCESSES.items():
            if given(name, setting):
                yield f"{option} needs processes; leave it out, or use --pool {PoolKind.PREFORK}"
    soft = given("soft_time_limit", "task_soft_time_limit")
    hard = given("time_limit", "task_time_limit")
    if soft and hard and soft > hard:
        yield f"--soft-time-limit {soft:g} is more than --time-limit {hard:g}"
    if options.get("beat") and kind is PoolKind.GEVENT:
        yield "-B needs a process or a thread of its own; start `celery -A worker beat` beside it"
    autoscale = options.get("autoscale")
    if autoscale and (max(autoscale) < 1 or min(autoscale) < 0):
        yield f"--autoscale {max(autoscale)},{min(autoscale)}: the larger number is at least 1, and neither is less than 0"
    yield from _problems_of_the_broker(conf)


def _problems_of_the_broker(conf: Any) -> Iterator[str]:
    for setting in _BROKERS:
        if (other := getattr(conf, setting, None)) and other != current().broker_url:
            address = maybe_sanitize_url(other if isinstance(other, str) else other[0])
            yield f"{setting} {address} is not REDIS_URL; set REDIS_URL instead"
    for setting in _WITH_PREFIX:
        if (conf.get(setting) or {}).get("global_keyprefix"):
            yield f"{setting}: {NO_PREFIX}"

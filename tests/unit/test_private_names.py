"""Names of Celery, kombu, billiard, redis-py and Flower that are theirs alone, and used here.

They may move with any version, so `pyproject.toml` bounds those packages. After an upgrade, each
name that has moved, or has other parameters, fails here in one line.
"""

import ast
import importlib
import inspect

import pytest

from tests.support import ROOT

# With its parameters where it is a function, else None.
NAMES = {
    "celery._state:_task_stack": None,
    "celery._state:get_current_worker_task": "",
    "celery.app.task:Task._get_exec_options": "self",
    "celery.app.task:Task._dump_pydantic_arguments": None,
    "celery.app.task:Context": None,
    "celery.app.trace:trace_ok_t": None,
    "celery.app.trace:info": "fmt, context",
    "celery.app.trace:LOG_SUCCESS": None,
    "celery.backends.redis:RedisBackend._create_client": "self, **params",
    "celery.backends.redis:RedisBackend._get_pool": "self, **params",
    "celery.backends.redis:RedisBackend._chord_part_return_script": None,
    "celery.backends.redis:RedisBackend._chord_cleanup_script": None,
    "celery.backends.redis:RedisBackend._chord_claim_extend_script": None,
    "celery.beat:ScheduleEntry._default_now": "self",
    "celery.concurrency:ALIASES": None,
    "celery.concurrency.asynpool:AsynPool._track_child_process": "self, proc, hub",
    "celery.concurrency.base:BasePool._get_info": "self",
    "celery.concurrency.gevent:TaskPool._make_killable_target": "target",
    "celery.concurrency.gevent:apply_timeout": "target, args?, kwargs?, callback?, accept_callback?, getpid?, timeout?, timeout_callback?, Timeout?, apply_target?, **rest",
    "celery.concurrency.gevent:apply_target": "target, args?, kwargs?, callback?, accept_callback?, getpid?, **_",
    "celery.schedules:crontab._orig_minute": None,
    "celery.schedules:crontab._orig_hour": None,
    "celery.schedules:crontab._orig_day_of_week": None,
    "celery.schedules:crontab._orig_day_of_month": None,
    "celery.schedules:crontab._orig_month_of_year": None,
    "celery.worker.consumer.consumer:Consumer._maximum_prefetch_restored": None,
    "celery.worker.consumer.consumer:Consumer.create_task_handler": "self, promise?",
    "celery.worker.consumer.consumer:Consumer.update_strategies": "self",
    "celery.worker.control:time_limit": "state, task_name?, hard?, soft?, **kwargs",
    "celery.worker.pidbox:gPidbox._node_stopped": None,
    "celery.worker.pidbox:gPidbox.loop": "self, c",
    "celery.worker.request:Request._announce_revoked": "self, reason, terminated, signum, expired",
    "celery.worker.request:Request._body": None,
    "celery.worker.request:Request._content_type": None,
    "celery.worker.request:Request._decoded": None,
    "celery.worker.request:Request._request_dict": None,
    "celery.worker.request:Request.on_accepted": "self, pid, time_accepted",
    "celery.worker.request:Request.on_failure": "self, exc_info, send_failed_event?, return_ok?",
    "celery.worker.request:Request.on_success": "self, failed__retval__runtime, **kwargs",
    "celery.worker.request:Request.on_timeout": "self, soft, timeout",
    "billiard.common:terminate_handler_fired": "",
    "billiard.pool:ApplyResult._accept_callback": None,
    "billiard.pool:ApplyResult._accepted": None,
    "billiard.pool:EX_RECYCLE": None,
    "billiard.pool:Pool._cache": None,
    "billiard.pool:Pool._processes": None,
    "billiard.pool:Pool.shrink": "self, n?",
    "billiard.pool:Worker._make_protected_receive": "self, conn",
    "kombu.connection:Connection._info": "self, resolve?",
    "kombu.connection:Connection.get_transport_cls": "self",
    "kombu.message:Message._decode": "self",
    "kombu.transport:TRANSPORT_ALIASES": None,
    "kombu.transport.redis:Channel._basic_cancel": "self, consumer_tag",
    "kombu.transport.redis:Channel._brpop_read": "self, **options",
    "kombu.transport.redis:Channel._brpop_sent_at": None,
    "kombu.transport.redis:Channel._brpop_start": "self, timeout?",
    "kombu.transport.redis:Channel._closing": None,
    "kombu.transport.redis:Channel._connparams": "self, asynchronous?",
    "kombu.transport.redis:Channel._expires": None,
    "kombu.transport.redis:Channel._flush_brpop_reauth": "self",
    "kombu.transport.redis:Channel._get_message_priority": "self, message, reverse?",
    "kombu.transport.redis:Channel._get_publish_topics": "self, exchange, routing_key",
    "kombu.transport.redis:Channel._in_listen": None,
    "kombu.transport.redis:Channel._in_poll": None,
    "kombu.transport.redis:Channel._maybe_update_queues_expire": "self, client, queue",
    "kombu.transport.redis:Channel._size": "self, queue",
    "kombu.transport.redis:Channel._put": "self, queue, message, **kwargs",
    "kombu.transport.redis:Channel._put_fanout": "self, exchange, message, routing_key, **kwargs",
    "kombu.transport.redis:Channel._q_for_pri": "self, queue, pri",
    "kombu.transport.redis:Channel._queue_cycle": None,
    "kombu.transport.redis:Channel._receive_one": "self, c",
    "kombu.transport.redis:Channel._restore": "self, message, leftmost?",
    "kombu.transport.redis:Channel._tag_to_queue": None,
    "kombu.transport.redis:MultiChannelPoller._chan_to_sock": None,
    "kombu.transport.redis:MultiChannelPoller._channels": None,
    "kombu.transport.redis:MultiChannelPoller._discard_paused_connection": "self, connection",
    "kombu.transport.redis:MultiChannelPoller._fd_to_chan": None,
    "kombu.transport.redis:MultiChannelPoller._on_connection_disconnect": "self, connection",
    "kombu.transport.redis:MultiChannelPoller._register": "self, channel, client, type",
    "kombu.transport.redis:MultiChannelPoller._register_BRPOP": "self, channel",
    "kombu.transport.redis:MultiChannelPoller._register_LISTEN": "self, channel",
    "kombu.transport.virtual.base:QoS._delivered": None,
    "kombu.transport.virtual.base:QoS._flush": "self",
    "kombu.transport.virtual.base:QoS._quick_ack": None,
    "kombu.transport.virtual.base:QoS.can_consume_max_estimate": "self",
    "kombu.transport.virtual.base:Transport._deliver": "self, message, queue",
    "redis._parsers.base:BaseParser.EXCEPTION_CLASSES": None,
    "redis.connection:AbstractConnection._sock": None,
    "redis.connection:ConnectionPool._checkpid": "self",
    "redis.connection:ConnectionPool.reset": "self",
    "flower.utils.broker:Broker": None,
    "flower.utils.broker:RedisBase.queues": "self, names",
}

# Private names of the standard library and of data types.
OTHERS = {
    *("_fields_", "_getframe", "_replace"),
    *("_bit_generator", "_filters_mutated", "_libs"),
}


def shown(path):
    """A name's parameters, None for data; AttributeError where it is gone."""
    module, _, names = path.partition(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        if inspect.isclass(found) and not hasattr(found, name):
            # What instances have is set somewhere in the class.
            sources = [inspect.getsource(c) for c in found.__mro__ if c is not object]
            if not any(f"self.{name}" in source for source in sources):
                raise AttributeError(f"{path} is gone")
            return None
        found = inspect.getattr_static(found, name)
        found = getattr(found, "__func__", found)
    return parameters(found) if inspect.isfunction(found) else None


def parameters(function):
    """Their names; ``?`` behind one that may be left out, whatever Python prints of its default."""
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(
        f"{marks.get(p.kind, '')}{p.name}{'' if p.default is p.empty else '?'}"
        for p in inspect.signature(function).parameters.values()
    )


@pytest.mark.parametrize("path", NAMES)
def test_a_private_name_is_where_it_was_with_its_parameters(path):
    assert shown(path) == NAMES[path]


def used_and_defined():
    """Private names that our code uses of objects, and those that it defines itself."""
    used, defined = {}, set()
    for package in ("shared", "worker", "producer"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    if isinstance(node.ctx, ast.Store):
                        defined.add(node.attr)
                    elif node.attr.startswith("_") and not node.attr.startswith("__"):
                        used.setdefault(node.attr, f"{file.relative_to(ROOT)}:{node.lineno}")
                elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                    defined.add(node.name)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    defined.add(node.id)
                elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                    ("celery", "kombu", "billiard", "redis", "flower")
                ):
                    names = [alias.name for alias in node.names if alias.name.startswith("_")]
                    used.update(dict.fromkeys(names, f"{file.relative_to(ROOT)}:{node.lineno}"))
    return used, defined


def test_no_other_private_name_is_used():
    used, defined = used_and_defined()
    listed = {path.rpartition(":")[2].rpartition(".")[2] for path in NAMES}

    unlisted = {n: place for n, place in used.items() if n not in defined | listed | OTHERS}

    assert unlisted == {}


def overridden():
    """Private methods of those packages in whose place our classes have their own."""
    for path in ("shared.broker.transport", "shared.broker.polling", "worker.pools.prefork"):
        for value in vars(importlib.import_module(path)).values():
            if inspect.isclass(value) and value.__module__ == path:
                theirs = {name for base in value.__mro__[1:] for name in vars(base)}
                yield from (name for name in vars(value) if name in theirs)


def test_each_private_method_that_is_replaced_is_listed():
    listed = {path.rpartition(".")[2] for path in NAMES}

    replaced = {name for name in overridden() if name.startswith("_") and "__" not in name}

    assert replaced <= listed

"""Publishes many messages in one round trip, in kombu's own format.

Celery builds one message as a template, and each task fills in its own values. The list stays an
ordinary kombu queue, so any Celery worker can take from it. Unlike Celery's `apply_async`, this
module sends no publish signals and no ``task-sent`` event.
"""

import base64
import itertools
import json
import time
from collections.abc import Sequence
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import celery
import redis
from celery import signals
from celery._state import get_current_worker_task
from celery.app.routes import MapRoute
from celery.backends.base import Backend as BaseBackend
from celery.backends.redis import RedisBackend
from celery.utils.saferepr import saferepr
from kombu.exceptions import OperationalError
from kombu.serialization import dumps as serialize
from kombu.utils.functional import retry_over_time
from kombu.utils.json import JSONEncoder

from shared.app import app
from shared.broker import keys
from shared.broker.connections import AWAY, Lua, foreseen, store
from shared.broker.messages import SENT_AT, body_limit
from shared.broker.pushing import PUSH_ONE, REPEATED_WITHIN_S
from shared.errors import MessageTooLarge
from shared.handles.scripts import me
from shared.settings import current

# KEYS: the queue's list, a mark for this push. ARGV: the limit (0: none), the mark's lifetime in
# seconds, then the messages. Pushes as many messages as fit under the limit. Returns their number,
# and 1 if the mark was there already: then a repeated push adds nothing. The loop pushes 1,000 at
# a time, because Lua's stack is limited. The mark comes last: a push that fails leaves none.
_PUSH = Lua("""
local count, limit = #ARGV - 2, tonumber(ARGV[1])
if limit > 0 then
    count = math.min(count, math.max(0, limit - redis.call('llen', KEYS[1])))
end
local before = redis.call('get', KEYS[2])
if count == 0 or before then
    return {tonumber(before or 0), before and 1 or 0}
end
for first = 3, count + 2, 1000 do
    redis.call('lpush', KEYS[1], unpack(ARGV, first, math.min(first + 999, count + 2)))
end
redis.call('set', KEYS[2], count, 'ex', ARGV[2])
return {count, 0}
""")


# How many messages to push at once.
BATCH = 500


class Template:
    """A prepared message of one task for one queue; `render` fills in the values of each call."""

    def __init__(self, task: str, queue: str, *, serializer: str = "json", **options: Any) -> None:
        """`options` go to `Celery.amqp.as_task_v2`: countdown, expires, shadow …"""
        self.task, self.queue = task, queue
        # Make one encoder for all messages. kombu makes one for each message.
        json_only = serializer == "json"
        self._encode = JSONEncoder().encode if json_only else partial(_serialized, serializer)
        self.ignore_result = ignore_result = options.pop("ignore_result", False)
        message = app.amqp.as_task_v2("", task, (), {}, ignore_result=ignore_result, **options)
        self._embed = message.body[2]
        self._shadow = json.dumps(message.headers["shadow"])
        content_type, encoding, _ = serialize(((), {}, self._embed), serializer)
        # Encode the parts that all messages share once. A gap stands for each value that differs.
        gaps = {name: f"<{keys.new_word()}>" for name in _GAPS}
        text = json.dumps(
            {
                "body": gaps["body"],
                "content-encoding": encoding,
                "content-type": content_type,
                "headers": {
                    **message.headers,
                    "id": gaps["task_id"],
                    "root_id": gaps["task_id"],
                    SENT_AT: gaps["sent_at"],
                    "argsrepr": gaps["argsrepr"],
                    "kwargsrepr": gaps["kwargsrepr"],
                    "shadow": gaps["shadow"],
                },
                "properties": {
                    "correlation_id": gaps["task_id"],
                    "reply_to": message.properties["reply_to"],
                    "delivery_mode": 2,
                    "delivery_info": {"exchange": "", "routing_key": queue},
                    "priority": 0,
                    "body_encoding": "base64",
                    "delivery_tag": gaps["delivery_tag"],
                },
            }
        ).replace("%", "%%")
        for name, gap in gaps.items():
            text = text.replace(f'"{gap}"', f"%({name})s")
        self._text = text

    def render(
        self,
        task_id: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        shadow: str | None = None,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
    ) -> bytes:
        """The message for one call, as kombu's Redis transport would write it.

        Raises `MessageTooLarge` if the body is larger than workers accept.
        """
        body = self._encode((args, kwargs, self._embed))
        if isinstance(body, str):
            body = body.encode()
        if len(body) > body_limit():
            raise MessageTooLarge(
                f"the arguments of {shadow or self.task}", len(body), body_limit()
            )
        text = self._text % {
            "body": f'"{base64.b64encode(body).decode()}"',
            "task_id": quoted(task_id),
            "sent_at": time.time(),
            "argsrepr": quoted(_shown(tuple(args)) if argsrepr is None else argsrepr),
            "kwargsrepr": quoted(_shown(kwargs) if kwargsrepr is None else kwargsrepr),
            "shadow": self._shadow if shadow is None else quoted(shadow),
            "delivery_tag": f'"{keys.new_id()}"',
        }
        return text.encode()


def _serialized(serializer: str, parts: Any) -> Any:
    return serialize(parts, serializer)[2]


_GAPS = ("body", "task_id", "sent_at", "argsrepr", "kwargsrepr", "shadow", "delivery_tag")


def _shown(value: Any) -> str:
    # Celery's `saferepr` inspects every value, which is slow. A few plain values do not need it.
    parts = value.values() if type(value) is dict else value
    if len(parts) < 9 and all(map(_is_plain, parts)):
        text = repr(value)
        if len(text) < app.amqp.argsrepr_maxsize:
            return text
    return str(saferepr(value, app.amqp.argsrepr_maxsize))


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in (int, float, bool) or (kind is str and len(value) < 99 and value.isalnum())


def push(
    queue: str, messages: Sequence[bytes], *, limit: int = 0, mark: str = "", once: bool = False
) -> int:
    """Push messages onto a queue, in order. Returns how many fitted under the limit (0: no limit).

    Raises `BrokerUnavailable` if Redis does not answer; with `once`, after a single attempt. A
    caller may repeat the push with the same `mark`: the messages are queued once.
    """
    if not messages:
        return 0
    mark = keys.PUSHED + (mark or keys.new_id())
    return _push(queue, messages, limit, mark, REPEATED_WITHIN_S, once=once)[0]


def push_once(
    queue: str, task_id: str, message: bytes, *, limit: int = 0, within_s: int
) -> tuple[bool, bool]:
    """Push one message, unless one with this id was accepted within the last `within_s` seconds.

    Returns two flags: whether the message is accepted (if not, the queue is full), and whether an
    earlier push had accepted it.
    """
    accepted, before = _push(queue, [message], limit, keys.ACCEPTED + task_id, within_s)
    return accepted == 1, before


def _push(
    queue: str,
    messages: Sequence[bytes],
    limit: int,
    mark: str,
    marked_s: int,
    *,
    once: bool = False,
) -> tuple[int, bool]:
    parameters: Any = (2, queue, mark, limit, marked_s, *messages)
    with foreseen():
        try:
            answer = _PUSH.ask(store(), *parameters)
        except (redis.ConnectionError, redis.TimeoutError):
            if once:
                raise
            # Let redis-py retry. The mark prevents a second push.
            answer = _PUSH.call(store(), *parameters)
    return int(answer[0]), bool(answer[1])


class Task(celery.Task):
    """A Celery task whose `apply_async` and `delay` are faster in the usual case.

    The fast path fills in a prepared message and sends one command to Redis. Celery's own path
    handles everything else: options other than `queue`, publish signals with receivers, a task
    that sends another, routes that depend on arguments, another broker, a result backend that must
    know of each call, and eager mode. Both paths retry by ``task_publish_retry_policy`` and raise
    `kombu.exceptions.OperationalError`.
    """

    abstract = True

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Queue a call of this task and return its `AsyncResult`; parameters as in Celery.

        Raises `kombu.exceptions.OperationalError` if Redis stays unavailable, and
        `MessageTooLarge` if no worker would accept the message.
        """
        template = None
        if not (producer or link or link_error or shadow or options.keys() - _SHORT_OPTIONS):
            template = self._prepared(options)
        if template is not None:
            task_id = task_id or keys.new_id()
            args, kwargs = tuple(args or ()), kwargs or {}
            if self.typing:
                self.__header__(*args, **kwargs)
            shadow = self.shadow_name(args, kwargs, options)
            message = template.render(task_id, args, kwargs, shadow=shadow)
            mark = keys.PUSHED + me()
            # Not the task's id: a caller may send two tasks under one id.
            parameters = (2, template.queue, mark, next(_pushes), message, REPEATED_WITHIN_S)
            try:
                PUSH_ONE.ask(store(), *parameters)
            except AWAY as error:
                # The mark prevents a second push if Redis did the first one and its reply was lost.
                self._push_again(error, *parameters)
            result = self.AsyncResult(task_id)
            result.ignored = template.ignore_result
            return result
        return super().apply_async(
            args, kwargs, task_id, producer, link, link_error, shadow, **options
        )

    def _push_again(self, error: Exception, *parameters: Any) -> None:
        """Retry a push as often as Celery's publish settings say."""
        conf = self.app.conf
        policy = conf.task_publish_retry_policy if conf.task_publish_retry else {"max_retries": 0}
        known = ("max_retries", "interval_start", "interval_step", "interval_max", "timeout")
        given = {name: policy[name] for name in known if name in policy}
        retries = given.pop("max_retries", None)
        try:
            if retries == 0:
                raise error
            retry_over_time(
                PUSH_ONE.ask,
                AWAY,
                (store(), *parameters),
                max_retries=retries and retries - 1,
                **given,
            )
        except AWAY as last:
            raise OperationalError(str(last)) from last

    def _prepared(self, options: dict[str, Any]) -> Template | None:
        """The template for the fast path, or None if this call needs Celery's own path."""
        for signal in _SIGNALS:
            if signal.receivers:
                return None
        if get_current_worker_task() or _is_eager(self.app.conf):
            return None
        templates: dict[Any, Template | None] = self.__dict__.setdefault("_templates", {})
        ignore_result = options.get("ignore_result")
        key = (options.get("queue"), self.ignore_result if ignore_result is None else ignore_result)
        try:
            return templates[key]
        except KeyError:
            templates[key] = template = self._prepare(*key)
            return template
        except TypeError:
            return None  # the queue is an object, not a name

    def _prepare(self, queue: Any, ignore_result: bool) -> Template | None:
        amqp, conf = self.app.amqp, self.app.conf
        own = {name: value for name, value in self._get_exec_options().items() if value is not None}
        serializer = own.pop("serializer", None) or conf.task_serializer
        limits = {name: own.pop(name, None) for name in ("time_limit", "soft_time_limit")}
        if self.soft_time_limit and self.time_limit and self.soft_time_limit > self.time_limit:
            return None  # Celery raises an error for this
        own_queue = own.pop("queue", None)
        queue = queue or own_queue
        if own or not isinstance(queue, str | None):
            return None
        if not all(isinstance(route, MapRoute) for route in amqp.router.routes or ()):
            return None
        route = amqp.router.route({"queue": queue} if queue else {}, self.name, (), {}, self)
        found = route.pop("queue", None)
        if route or found is None or found.exchange.type != "direct":
            return None
        if not keys.is_queue(found.name):
            return None  # our transport raises an error for this
        ours = (
            (conf.broker_write_url or conf.broker_url) == current().broker_url
            and conf.task_protocol == 2
            and not conf.task_send_sent_event
            and conf.task_default_priority is None
            and conf.task_compression is None
            and not conf.broker_transport_options.get("global_keyprefix")
        )
        # Our result backend subscribes only when a caller waits, so it need not know of the call.
        told = getattr(type(self.backend), "on_task_call", None)
        ours = ours and told in (BaseBackend.on_task_call, RedisBackend.on_task_call)
        if not ours or self.__v2_compat__ or self._dump_pydantic_arguments is not None:
            return None
        return Template(
            self.name, found.name, serializer=serializer, ignore_result=ignore_result, **limits
        )


def _is_eager(conf: Any) -> bool:
    # `conf.task_always_eager` tries every way to write the name, and takes ten times as long.
    return bool(next(part[_EAGER] for part in conf.maps if _EAGER in part))


_EAGER = "task_always_eager"
# With the word of its thread, each number names one push.
_pushes = itertools.count(1)
_SHORT_OPTIONS = {"queue", "ignore_result"}
_SIGNALS = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)

"""Messages like kombu's in which something is of another type."""

import base64
import copy
import json
import math

from tests.chaos.bench import message

_VALUES = (
    *(None, True, 7, -1, 2**70, 1e308, math.nan, "", "x", "x" * 1000, "zlib", [], [1], [[1]]),
    *([None, None], {}, {"a": 1}, {"x": None}, "2026-01-01T00:00:00", "0001-01-01T00:00:00"),
    {"__type__": "uuid", "__value__": {"hex": "0" * 32}},
    {"__type__": "datetime", "__value__": "2026-01-01T00:00:00"},
    {"__type__": "bytes", "__value__": "AA=="},
)
_HEADERS = [
    "args",
    "argsrepr",
    "called_directly",
    "callbacks",
    "chord",
    "compression",
    "correlation_id",
    "delivery_info",
    "errbacks",
    "eta",
    "expires",
    "group",
    "group_index",
    "hostname",
    "id",
    "ignore_result",
    "is_eager",
    "kwargs",
    "kwargsrepr",
    "lang",
    "logfile",
    "loglevel",
    "lost_workers",
    "meth",
    "origin",
    "parent_id",
    "replaced_task_nesting",
    "reply_to",
    "retries",
    "root_id",
    "shadow",
    "stamped_headers",
    "stamps",
    "task",
    "taskset",
    "timelimit",
    "utc",
]
_PROPERTIES = [
    "body_encoding",
    "correlation_id",
    "delivery_info",
    "delivery_mode",
    "delivery_tag",
    "expiration",
    "message_id",
    "priority",
    "reply_to",
]
_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")


def messages(random, number):
    """So many, each with one or two parts replaced."""
    for _ in range(number):
        yield _message(random)


def _message(random):
    whole = json.loads(message("note", [0, 0.0]))
    body = json.loads(base64.b64decode(whole["body"]))
    for _ in range(random.choice((1, 1, 2))):
        value = copy.deepcopy(random.choice(_VALUES))
        place = random.choice(("headers", "properties", "body", "embedded", "message"))
        if place == "message":
            whole[random.choice(list(whole))] = value
        elif place == "body":
            body[random.randrange(3)] = value
        elif place == "embedded" and isinstance(body[2], dict):
            task = {"task": "note", "args": [0, 0], "kwargs": {}, "options": value}
            values = (value, [value], {"task": value}, [task])
            body[2][random.choice(_EMBEDDED)] = random.choice(values)
        elif isinstance(whole.get(place), dict):
            names = _HEADERS if place == "headers" else _PROPERTIES
            whole[place][random.choice(names)] = value
    if whole["body"] and isinstance(whole["body"], str):
        whole["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    return json.dumps(whole)

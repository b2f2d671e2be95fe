"""A dict in Redis: values by key, the order of the keys, and Python's equality of keys.

Two keys are the same if they are equal in Python: ``1``, ``1.0`` and ``True`` are one key. So all
equal keys share one *field*, which is the encoding of their plainest form. If a key differs from
that form, it is stored beside the field.
"""

import enum
import fractions
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from shared.calls import codec
from shared.handles.scripts import Script
from shared.multiprocessing import items

_COMMON = """
  if not creating and redis.call('exists', name) == 0 then return redis.error_reply('GONE') end
  local items, order, keys = name .. ':items', name .. ':order', name .. ':keys'

  local function put(field, key, item)
    local before = redis.call('hget', items, field)
    if before then
      refer(before, -1)
    else
      redis.call('zadd', order, redis.call('hincrby', name, 'next', 1), field)
      if key ~= field then redis.call('hset', keys, field, key) end
    end
    redis.call('hset', items, field, item)
    refer(item, 1)
  end

  local function take(field)
    local item = redis.call('hget', items, field)
    if item then
      refer(item, -1)
      redis.call('hdel', items, field)
      redis.call('zrem', order, field)
      redis.call('hdel', keys, field)
    end
    return item
  end

  local function key_of(field) return redis.call('hget', keys, field) or field end
  local function keep_all() keep('', ':items', ':order', ':keys', ':refs') end
"""

_PUT_ALL = """
  for i = 1, #arg, 3 do put(arg[i], arg[i + 1], arg[i + 2]) end
  keep_all()
  return 1
"""

# arg: field, key and item, as often as there are entries.
CREATE = Script(
    "local creating = true" + _COMMON + "redis.call('hset', name, 'next', 0)" + _PUT_ALL
)
SET = Script("local creating = false" + _COMMON + _PUT_ALL)

# arg: field, key, item. Returns the item that is stored now.
SETDEFAULT = Script(
    "local creating = false"
    + _COMMON
    + """
  local item = redis.call('hget', items, arg[1])
  if not item then put(arg[1], arg[2], arg[3]) end
  keep_all()
  return item or arg[3]
"""
)

# arg: field. Removes and returns its item.
TAKE = Script("local creating = false" + _COMMON + "return take(arg[1])")

# Removes and returns the last key and its item.
TAKE_LAST = Script(
    "local creating = false"
    + _COMMON
    + """
  local field = redis.call('zrange', order, -1, -1)[1]
  if not field then return false end
  local key = key_of(field)
  return {key, take(field)}
"""
)

CLEAR = Script(
    "local creating = false"
    + _COMMON
    + """
  redis.call('del', items, order, keys, name .. ':refs')
  return 1
"""
)

# arg: field. Returns its item.
GET = Script(
    "local creating = false" + _COMMON + "return redis.call('hget', items, arg[1])", reads=True
)

LENGTH = Script("local creating = false" + _COMMON + "return redis.call('hlen', items)", reads=True)

KEYS = Script(
    "local creating = false"
    + _COMMON
    + """
  local answer = redis.call('zrange', order, 0, -1)
  for i, field in ipairs(answer) do answer[i] = key_of(field) end
  return answer
""",
    reads=True,
)

# Returns keys and items in turn.
ALL = Script(
    "local creating = false"
    + _COMMON
    + """
  local answer = {}
  for _, field in ipairs(redis.call('zrange', order, 0, -1)) do
    answer[#answer + 1] = key_of(field)
    answer[#answer + 1] = redis.call('hget', items, field)
  end
  return answer
""",
    reads=True,
)


def field(key: Any) -> bytes:
    """A key's field: the same bytes for all equal keys. Raises TypeError for an unhashable key."""
    hash(key)
    return codec.dumps(_plainest(key), what="the key")


def pack(values: Mapping[Any, Any]) -> Iterable[bytes]:
    """Fields, keys and items in the order in which the scripts expect them."""
    for key, value in values.items():
        yield field(key)
        yield codec.dumps(key, what="the key")
        yield items.encode(value, "the value")


def _plainest(key: Any) -> Any:
    if isinstance(key, tuple) and type(key).__hash__ is tuple.__hash__:
        return tuple(map(_plainest, key))
    if isinstance(key, frozenset):
        return sorted(codec.dumps(_plainest(item)) for item in key)  # a list is never a key itself
    if isinstance(key, numbers.Number):
        number: Any = key
        if number != number.real:
            return key  # a complex number
        try:
            exact = fractions.Fraction(number.real)
        except (ValueError, OverflowError):
            return float(number.real)  # NaN or infinite
        return int(exact) if exact.denominator == 1 else exact
    if isinstance(key, enum.Enum) and isinstance(key, (str, bytes)):
        return key.value
    return key

"""A list in Redis: the items, and a version that every change raises."""

from shared.scripts import Script

# The hash under the handle's own name says that the list exists, also while it is empty.
_EXISTS = """
  if redis.call('exists', name) == 0 then return redis.error_reply('GONE') end
"""

# arg: the items.
CREATE = Script("""
  redis.call('hset', name, 'version', 0)
  for _, item in ipairs(arg) do
    redis.call('rpush', name .. ':items', item)
    refer(item, 1)
  end
  keep('', ':items', ':refs')
  return 1
""")

# arg: first and last index, as in LRANGE. The version, then the items.
READ = Script(
    _EXISTS
    + """
  local answer = redis.call('lrange', name .. ':items', arg[1], arg[2])
  table.insert(answer, 1, tonumber(redis.call('hget', name, 'version')))
  return answer
""",
    reads=True,
)

LENGTH = Script(_EXISTS + "return redis.call('llen', name .. ':items')", reads=True)

# arg: the version that it must have ('' any), index ('end'), how many to remove there, whether
# the index must exist ('' no), the new items. {1, removed ...}; {0} another version; {-1} no
# such index.
SPLICE = Script(
    _EXISTS
    + """
  local items = name .. ':items'
  local length = redis.call('llen', items)
  local version, delete, strict = arg[1], tonumber(arg[3]), arg[4] ~= ''
  if version ~= '' and redis.call('hget', name, 'version') ~= version then return {0} end
  local start = arg[2] == 'end' and length or tonumber(arg[2])
  if start < 0 then start = start + length end
  if strict and (start < 0 or start >= length) then return {-1} end
  start = math.max(0, math.min(start, length))
  local stop = math.min(start + delete, length)
  local answer = {1}
  if stop > start then
    answer = redis.call('lrange', items, start, stop - 1)
    for _, item in ipairs(answer) do refer(item, -1) end
    table.insert(answer, 1, 1)
  end
  for i = 5, #arg do refer(arg[i], 1) end
  if stop - start == 1 and #arg == 5 then
    redis.call('lset', items, start, arg[5])
  elseif stop - start == 1 and #arg == 4 and start == 0 then
    redis.call('lpop', items)
  else
    local tail = {}
    if stop < length then tail = redis.call('lrange', items, stop, -1) end
    if start < length then
      if start == 0 then redis.call('del', items) else redis.call('ltrim', items, 0, start - 1) end
    end
    for i = 5, #arg do redis.call('rpush', items, arg[i]) end
    for _, item in ipairs(tail) do redis.call('rpush', items, item) end
  end
  redis.call('hincrby', name, 'version', 1)
  keep('', ':items', ':refs')
  return answer
"""
)

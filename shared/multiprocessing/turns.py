"""A line of waiters for locks, semaphores and conditions: first come, first served.

While others wait, a released permit is not free for any newcomer. The permit goes to the first
waiter in line, who has to claim it:

    holder              Redis                              first in line
                        line: [a, b]                       BLPOP bell:a
    release ──────────► line: [b], claims: {a: in 1 s}
                        ring bell:a ─────────────────────► hears it
                        claims: {a: …} ◄────────────────── acquire again: mine

If the first waiter was killed, its claim lapses after a second. The next script on the line passes
the permit on. Each waiter checks the line every second, and so renews its *seat*, a key with a
lifetime of three seconds. Waiters without a seat are skipped, so many killed waiters together cost
only one second. A waiter that was only slow finds itself removed from the line and joins it again.
"""

from shared.handles.scripts import Script

# How long a waiter has to claim a permit, and how long it counts as alive without a check.
_CLAIM_MS = 1_000
_SEAT_MS = 3_000

# `present` is the time of Redis' clock, because the clocks of machines differ.
LINE = (
    f"local CLAIM_MS, SEAT_MS = {_CLAIM_MS}, {_SEAT_MS}"
    """
  local present = now()

  local function hand(ticket)
    redis.call('zadd', name .. ':claims', present + CLAIM_MS, ticket)
    ring(ticket, 1)
  end

  local function hand_out(permits)  -- to the first in line; answers what is left over
    local slow = {}
    while permits > 0 do
      local ticket = redis.call('lpop', name .. ':line')
      if not ticket then break end
      if redis.call('exists', 'seat:' .. ticket) == 1 then
        hand(ticket)
        permits = permits - 1
      else
        slow[#slow + 1] = ticket
      end
    end
    for _, ticket in ipairs(slow) do  -- better to the slow than to nobody
      if permits == 0 then break end
      hand(ticket)
      permits = permits - 1
    end
    return permits
  end

  local function lapsed()  -- take back what was not claimed or not renewed; how many
    local gone = redis.call('zrangebyscore', name .. ':claims', '-inf', present)
    for _, ticket in ipairs(gone) do redis.call('zrem', name .. ':claims', ticket) end
    return #gone
  end

  local function join(ticket)
    if not redis.call('lpos', name .. ':line', ticket) then
      redis.call('rpush', name .. ':line', ticket)
    end
    redis.call('set', 'seat:' .. ticket, 1, 'px', SEAT_MS)
  end

  local function leave(ticket)
    redis.call('lrem', name .. ':line', 1, ticket)
    redis.call('del', 'seat:' .. ticket, 'bell:' .. ticket)
  end
"""
)

# Acquires a permit. Without a lease (a semaphore), a claimed permit leaves the records. With a
# lease (a lock), it stays among the claims, where it is renewed or lapses.
#
# arg: ticket, initial count, lease in ms (0: none), what to do without a free permit: 'wait' or
# 'leave'. Returns the number of this acquisition, which always grows, or 0.
ACQUIRE = Script(
    LINE
    + """
  local ticket, initial, hold_ms, otherwise = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]
  local free = tonumber(redis.call('hget', name, 'free') or initial) + lapsed()
  if free > 0 then free = hand_out(free) end
  local number = 0
  local claimed = redis.call('zrem', name .. ':claims', ticket) == 1
  if claimed or free > 0 then
    if not claimed then free = free - 1 end
    -- From the clock where there was none: it grows even if everything was forgotten.
    if redis.call('hexists', name, 'number') == 0 then redis.call('hset', name, 'number', present) end
    number = redis.call('hincrby', name, 'number', 1)
    if hold_ms > 0 then redis.call('zadd', name .. ':claims', present + hold_ms, ticket) end
    leave(ticket)
  elseif otherwise == 'wait' then
    join(ticket)
  else
    leave(ticket)
  end
  redis.call('hset', name, 'free', free)
  lease = math.max(lease, hold_ms)
  keep('', ':line', ':claims', ':freed')
  return number
"""
)

# arg: initial count, highest count (0: no limit), how many. Returns 1 if released, 0 if the count
# would exceed the limit.
RELEASE = Script(
    LINE
    + """
  local initial, highest, by = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
  local free = tonumber(redis.call('hget', name, 'free') or initial) + lapsed()
  local allowed = highest == 0 or free + by <= highest
  if allowed then free = free + by end
  redis.call('hset', name, 'free', hand_out(free))
  keep('', ':line', ':claims')
  return allowed and 1 or 0
"""
)

# arg: ticket ('' = any holder's). Returns 1 if released, 0 if the lock was free, -1 if this hold
# had lapsed. If another process releases a hold, `freed` remembers it, so that its holder does not
# get `LockLost`.
RELEASE_HOLD = Script(
    LINE
    + """
  local ticket = arg[1]
  local back = lapsed()
  local answer = 1
  if ticket ~= '' and not redis.call('zscore', name .. ':claims', ticket) then
    if redis.call('lrem', name .. ':freed', 1, ticket) == 0 then answer = -1 end
    ticket = ''
  end
  if answer == 1 then
    local other = ticket == ''
    if other then ticket = redis.call('zrange', name .. ':claims', 0, 0)[1] end
    if ticket then
      redis.call('zrem', name .. ':claims', ticket)
      back = back + 1
      if other then
        redis.call('lpush', name .. ':freed', ticket)
        redis.call('ltrim', name .. ':freed', 0, 99)
      end
    else
      answer = 0
    end
  end
  if back > 0 then redis.call('hset', name, 'free', hand_out(back)) end
  keep('', ':line', ':claims', ':freed')
  return answer
"""
)

# arg: ticket, initial count. Removes an interrupted waiter from the line, and passes a permit that
# it may have got meanwhile to the next waiter.
ABANDON = Script(
    LINE
    + """
  local free = tonumber(redis.call('hget', name, 'free') or arg[2])
  leave(arg[1])
  free = free + redis.call('zrem', name .. ':claims', arg[1])
  redis.call('hset', name, 'free', hand_out(free))
  keep('', ':line', ':claims')
  return 1
"""
)

# arg: initial count. Returns the number of free permits, including lapsed claims.
FREE = Script(
    """
  local free = tonumber(redis.call('hget', name, 'free') or arg[1])
  return free + redis.call('zcount', name .. ':claims', '-inf', now())
""",
    reads=True,
)

# For conditions: a line without permits of its own. arg: ticket. Returns 1 if the waiter was
# notified, 0 if it has to wait. The notification of a killed waiter goes to the next one.
WAIT = Script(
    LINE
    + """
  hand_out(lapsed())
  local told = redis.call('zrem', name .. ':claims', arg[1])
  if told == 1 then leave(arg[1]) else join(arg[1]) end
  keep(':line', ':claims')
  return told
"""
)

# arg: ticket. Ends a wait. Returns 1 if the waiter was notified at the last moment.
STOP_WAITING = Script(
    LINE
    + """
  leave(arg[1])
  return redis.call('zrem', name .. ':claims', arg[1])
"""
)

# arg: how many waiters to wake.
NOTIFY = Script(
    LINE
    + """
  hand_out(lapsed() + tonumber(arg[1]))
  keep(':line', ':claims')
  return 1
"""
)

WAITERS = Script("return redis.call('llen', name .. ':line')", reads=True)

"""A line of waiters: permits go from hand to hand, first come first served.

Locks, semaphores and conditions are lines. A permit is never put down where anyone could snatch
it while others wait; it is handed to the first of the line, who has to claim it:

    holder              Redis                              first in line
                        line: [a, b]                       BLPOP bell:a
    release ──────────► line: [b], claims: {a: in 1 s}
                        ring bell:a ─────────────────────► hears it
                        claims: {a: …} ◄────────────────── acquire again: mine

If the first was killed, its claim lapses after a second, and whoever looks next hands the
permit on. Each waiter keeps a *seat*, a key of three seconds, while it looks again every
second: those without one are passed over, so a crowd of dead waiters costs one second in all.
A waiter that was merely slow finds itself gone from the line and joins it again.
"""

from shared.handles.scripts import Script

# How long a waiter has to claim what it was handed; how long it counts as alive unseen.
_CLAIM_MS = 1_000
_SEAT_MS = 3_000

# `present` is Redis' own clock: machines need not agree on the time.
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

# A counter with a line. Without a lease the permit is gone from the records once it is claimed
# (a semaphore); with one it stays among the claims, renewed or lapsing (a lock).
#
# arg: ticket, initial count, lease in ms (0: none), what to do if there is none: 'wait', 'leave'.
# Answers the number of this acquisition, which always grows, or 0.
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

# arg: initial count, highest count (0: any), how many. 1: released; 0: that would be too many.
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

# arg: ticket ('' = whoever holds it). 1: released; 0: it was free; -1: this hold had lapsed.
# A hold that somebody else released is remembered in `freed`: its holder did not lose it.
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

# arg: ticket, initial count. For a waiter that was interrupted: out of the line, and what it
# may have been handed meanwhile goes to the next.
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

# arg: initial count. What is free, claims that lapsed included.
FREE = Script(
    """
  local free = tonumber(redis.call('hget', name, 'free') or arg[1])
  return free + redis.call('zcount', name .. ':claims', '-inf', now())
""",
    reads=True,
)

# A line without permits of its own, for conditions. WAIT: arg: ticket. 1: it was notified; 0:
# it waits. A notified waiter that was killed passes its turn on.
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

# arg: ticket. The wait is over; 1: it was notified in the last moment.
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

"""Leases of handles: keys in use are renewed, and unused keys expire.

Each process with handles (queues, locks, managed objects …) has one renewing thread, the keeper.
While a task holds the GIL, `shared.broker.renewing` renews instead. Two things are renewed:

- The keys of every handle that is alive in this process, and of all handles inside it. Their lease
  is `HANDLE_LEASE_S`.
- Every hold: a held lock, or the open end of a pipe. Its lease is `LOCK_LEASE_S`. A hold has a
  deadline of its own, because the keys of a lock live on while other processes wait for it.

A killed process renews nothing, so the keys that only it used expire.
"""

import os
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.broker import renewing
from shared.broker.connections import Absence
from shared.endings import Background
from shared.handles.scripts import Script
from shared.settings import current

# A handle's keys are its name with each of these suffixes.
SUFFIXES = (
    *("", ":items", ":line", ":claims", ":refs"),
    *(":pending", ":held", ":order", ":keys", ":freed"),
)
_SUFFIXES = "local SUFFIXES = {" + ", ".join(f"'{suffix}'" for suffix in SUFFIXES) + "}"
_AT_ONCE = 200

# arg: names of handles. Renews them and the handles in their `refs`, each name once, so that a
# cycle ends.
_RENEW = Script(
    _SUFFIXES
    + """
    local todo, seen = arg, {}
    while #todo > 0 do
      local one = table.remove(todo)
      if not seen[one] then
        seen[one] = true
        for _, suffix in ipairs(SUFFIXES) do redis.call('pexpire', one .. suffix, lease) end
        for _, other in ipairs(redis.call('hkeys', one .. ':refs')) do
          todo[#todo + 1] = other
        end
      end
    end
    """,
    reads=True,
)

# arg: the lease in ms, then for each hold its name, its ticket, and '1' if it may be revived.
# Returns 1 for each renewed hold, and 0 for each hold whose lease had ended.
_RENEW_HOLDS = Script(
    """
    local present, answers = now(), {}
    for i = 2, #arg, 3 do
      local claims, ticket, revives = arg[i] .. ':claims', arg[i + 1], arg[i + 2] == '1'
      local deadline = redis.call('zscore', claims, ticket)
      local lives = revives or (deadline and tonumber(deadline) > present)
      if lives then
        redis.call('zadd', claims, present + arg[1], ticket)
        for _, suffix in ipairs({'', ':line', ':claims', ':freed'}) do
          redis.call('pexpire', arg[i] .. suffix, math.max(lease, arg[1]))
        end
      end
      answers[#answers + 1] = lives and 1 or 0
    end
    return answers
    """,
    reads=True,
)

_DELETE = Script(
    _SUFFIXES
    + """
    local count = 0
    for _, one in ipairs(arg) do
      for _, suffix in ipairs(SUFFIXES) do count = count + redis.call('del', one .. suffix) end
    end
    return count
    """,
    reads=True,
)


@dataclass(eq=False)
class Hold:
    """A claim on a handle, which this process renews. `lost` is set when its lease has ended."""

    name: str
    ticket: str
    revives: bool = False  # true for a pipe's end, which is renewed even after its lease ended
    lost: bool = False
    over: bool = False  # no longer needed; may be set during garbage collection


class Keeper:
    """The renewing thread of this process. It starts with the first handle or hold."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._changed = threading.Condition()  # a thread that a fork left out may hold the old
        self._handles: weakref.WeakSet[Any] = weakref.WeakSet()
        self._holds: set[Hold] = set()
        self._thread: Background | None = None
        self._wake = self._ended = False

    def watch(self, handle: Any) -> None:
        """Renew a handle's keys for as long as the object is alive."""
        with self._changed:
            self._handles.add(handle)
            self._start()
        name = handle._name  # noqa: SLF001 - a proxy's public names are its user's
        renewing.handles.keep(name, name)

    def keep(self, hold: Hold) -> None:
        """Renew a hold until `drop` is called."""
        with self._changed:
            first = not self._holds
            self._holds.add(hold)
            self._start()
            if first:
                self._rouse()  # the thread sleeps until the next handle is due: too late for a hold
        renewing.holds.keep(f"{hold.name} {hold.ticket}", hold.name, hold.ticket, 0)

    def drop(self, hold: Hold) -> None:
        """Stop renewing a hold."""
        with self._changed:
            self._holds.discard(hold)
        renewing.holds.drop(f"{hold.name} {hold.ticket}")

    def handles(self) -> list[Any]:
        """The handles that are alive in this process."""
        with self._changed:
            return list(self._handles)

    def become_another(self) -> None:
        """In a forked child: keep renewing the handles. The holds belong to the parent."""
        handles = self._handles
        self._forget()
        self._handles = handles
        if len(handles):
            self._start()

    def _end(self) -> None:
        self._ended = True
        self._rouse()

    def _rouse(self) -> None:
        """Wake the thread to check which renewals are due."""
        with self._changed:
            self._wake = True
            self._changed.notify()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            lease_s = current().lock_lease_s
            command = _RENEW_HOLDS.read_command("keeper", int(lease_s * 1000))
            renewing.holds.every(lease_s / 4, *command)
            renewing.handles.every(current().handle_lease_s / 4, *_RENEW.read_command("keeper"))
            self._ended = False
            self._thread = Background(self._run, "keeper", end=self._end)
            self._thread.start()

    def _run(self) -> None:
        handles_at = time.monotonic() + current().handle_lease_s / 4
        holds_at = time.monotonic()
        absence = Absence("a thread that renews leases")
        while not self._ended:
            with self._changed:
                due = min(handles_at, holds_at) if self._holds else handles_at
                if not self._wake:
                    self._changed.wait(max(0.0, due - time.monotonic()))
                if self._wake:
                    # The first hold was just acquired, so its renewal is not due yet.
                    self._wake = False
                    holds_at = time.monotonic() + current().lock_lease_s / 4
                    handles_at = min(handles_at, time.monotonic() + current().handle_lease_s / 4)
                    continue
                for hold in [hold for hold in self._holds if hold.over]:
                    self.drop(hold)
                holds = list(self._holds)
            try:
                renewing.look_after()
                if holds and time.monotonic() >= holds_at:
                    holds_at = time.monotonic() + current().lock_lease_s / 4
                    self._renew_holds(holds)
                if time.monotonic() >= handles_at:
                    handles_at = time.monotonic() + current().handle_lease_s / 4
                    self._renew_handles()
                absence.end()
            except Exception as error:
                # Retry soon. No lease is lost before its end.
                absence.wait(error)
                handles_at = holds_at = time.monotonic()

    def _renew_handles(self) -> None:
        names: set[str] = set()
        for handle in self.handles():
            names.update(handle._names())  # noqa: SLF001 - a proxy's public names are its user's
        for name in names.difference(kept := renewing.handles.members()):
            renewing.handles.keep(name, name)
        for name in set(kept).difference(names):
            renewing.handles.drop(name)
        renew(names)

    def _renew_holds(self, holds: list[Hold]) -> None:
        for some in _slices(holds):
            arguments: list[Any] = [int(current().lock_lease_s * 1000)]
            for hold in some:
                arguments += [hold.name, hold.ticket, "1" if hold.revives else "0"]
            for hold, lives in zip(some, _RENEW_HOLDS("keeper", *arguments), strict=True):
                if not lives:
                    hold.lost = True
                    self.drop(hold)


def renew(names: Iterable[str]) -> None:
    """Renew the leases of these handles, and of the handles inside them."""
    for some in _slices(list(dict.fromkeys(names))):
        _RENEW("keeper", *some)


def delete(names: Iterable[str]) -> None:
    """Delete these handles' keys from Redis."""
    for some in _slices(list(names)):
        _DELETE("keeper", *some)


def _slices(items: list[Any]) -> Iterable[list[Any]]:
    return (items[i : i + _AT_ONCE] for i in range(0, len(items), _AT_ONCE))


keeper = Keeper()

os.register_at_fork(after_in_child=keeper.become_another)

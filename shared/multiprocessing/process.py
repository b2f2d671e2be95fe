"""``multiprocessing.process``: a function that runs on a worker, with a pid and an exit code.

Differences from the standard library:

- A process occupies a slot of a worker, and waits in the queue until one is free. `pid` waits
  for that moment.
- Every process, daemonic or not, ends when its parent is gone.
- On threads, `terminate` and `kill` raise NotImplementedError.
"""

import atexit
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shared import endings, publishing
from shared.app import app
from shared.broker import presence
from shared.broker.connections import store
from shared.broker.keys import new_id
from shared.calls import codec, context, encoding, inbox, redirection
from shared.calls.encoding import Mode
from shared.calls.outcomes import Outcome, decode_outcomes
from shared.endings import Background
from shared.errors import DaySixError, NotPortable
from shared.laboratory import workloads
from shared.pools import PoolKind

__all__ = ["Process", "active_children", "current_process", "parent_process"]

_counter = itertools.count(1)
_children: "set[Process]" = set()
_END_WITHIN_S = 10.0
_WATCH_S = presence.LEASE_S / 2
_ROOM_WITHIN_S, _ROOM_EVERY_S = presence.LEASE_S / 2, 0.2


class Process:
    """``multiprocessing.Process`` on a worker of the given kind.

    `kind`: a `PoolKind` or its name, by default prefork. `args` and `kwargs` must be able to
    travel. `daemon`: None takes the value of the current process.
    A process never runs twice. If its worker is killed, it is dead, with the exit code that the
    signal gives.
    """

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        kind: PoolKind | str = PoolKind.PREFORK,
    ) -> None:
        if group is not None:
            raise AssertionError("group argument must be None for now")
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs or {})
        self._kind = PoolKind(kind)
        self._identity = _next_identity()
        number = ":".join(map(str, self._identity))
        self._name = str(name) if name else f"{type(self).__name__}-{number}"
        self._daemon = bool(daemon) if daemon is not None else current_process().daemon
        self._remote: _Remote | None = None
        self._closed = False

    def run(self) -> None:
        """Call the target. A subclass may override this method. Runs on the worker."""
        if self._target:
            self._target(*self._args, **self._kwargs)

    def start(self) -> None:
        """Send the process to a worker. Does not wait until it runs.

        Raises AssertionError if it was started before or a daemonic process starts it,
        `NotPortable` if its function or an argument cannot be sent, `BrokerUnavailable`, and
        `DaySixError` if a task starts it and no slot is free.
        """
        self._check_closed()
        if self._remote is not None:
            raise AssertionError("cannot start a process twice")
        redirection.check_guard("a process")
        around = context.current()
        if around is not None and around.daemon:
            raise AssertionError("daemonic processes are not allowed to have children")
        if type(self).run is not Process.run:
            self._remote = _Remote(self, self.run, ((), {}))
        elif self._target:
            self._remote = _Remote(self, self._target, (self._args, self._kwargs))
        else:
            self._remote = _Remote(self, workloads.noop, ((None,), {}))
        # Drop the references, as the standard library does, so that the objects can be collected.
        self._target, self._args, self._kwargs = None, (), {}
        _children.add(self)
        _end_at_exit()

    def terminate(self) -> None:
        """End the process with SIGTERM. Returns at once.

        A queued process is withdrawn. Raises NotImplementedError if it runs on threads.
        """
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process with SIGKILL. Returns at once.

        A queued process is withdrawn. Raises NotImplementedError if it runs on threads.
        """
        self._end(signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process ends, at most `timeout` seconds.

        None waits for ever, and a negative timeout counts as 0. Raises AssertionError before
        `start`.
        """
        self._check_closed()
        self._started("join").ended.wait(timeout)
        self._reap()

    def is_alive(self) -> bool:
        """True after `start` and until the process ends, also while it waits in the queue."""
        self._check_closed()
        if self._remote is None:
            return False
        alive = not self._remote.ended.is_set()
        self._reap()
        return alive

    def close(self) -> None:
        """Release the object's resources. Raises ValueError while the process runs."""
        if self._remote is not None and not self._remote.ended.is_set():
            raise ValueError(
                "Cannot close a process while it is still running. "
                "You should first call join() or terminate()."
            )
        if self._remote is not None:
            self._remote.close()
        _children.discard(self)
        self._closed = True

    @property
    def name(self) -> str:
        """The process's name. With ``OUTPUT=prefixed`` it precedes each line of its output."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if not isinstance(name, str):
            raise AssertionError("name must be a string")
        self._name = name

    @property
    def daemon(self) -> bool:
        """True if the process is ended, not joined, when its parent exits."""
        return self._daemon

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        if self._remote is not None:
            raise AssertionError("process has already started")
        self._daemon = bool(daemonic)

    @property
    def pid(self) -> int | None:
        """The process id on the worker's host; None before `start`.

        Waits until a worker has taken the process.
        """
        self._check_closed()
        return None if self._remote is None else self._remote.whereabouts().get("pid")

    ident = pid

    @property
    def host(self) -> str | None:
        """The name of the worker's host or container. Waits as `pid` does."""
        self._check_closed()
        return None if self._remote is None else self._remote.whereabouts().get("host")

    @property
    def exitcode(self) -> int | None:
        """The exit code, or None while the process runs.

        0 is success, 1 an exception, -N an end by signal N; else the argument of `sys.exit`.
        """
        self._check_closed()
        if self._remote is None:
            return None
        self._reap()
        return self._remote.exitcode

    @property
    def sentinel(self) -> int:
        """A file descriptor that becomes readable when the process ends, for `connection.wait`.

        Raises ValueError before `start`.
        """
        self._check_closed()
        if self._remote is None:
            raise ValueError("process not started")
        return self._remote.sentinel()

    @property
    def authkey(self) -> bytes:
        """Always empty: the password of Redis protects all connections."""
        return b""

    def __repr__(self) -> str:
        if self._closed:
            status = "closed"
        elif self._remote is None:
            status = "initial"
        elif self._remote.exitcode is None:
            status = "started"
        else:
            status = f"stopped exitcode={self._remote.exitcode}"
        daemon = " daemon" if self._daemon else ""
        return f"<{type(self).__name__} name={self._name!r} parent={os.getpid()} {status}{daemon}>"

    def __getstate__(self) -> dict[str, Any]:
        # A subclass's own attributes travel to its run(). Links to this process do not.
        bound: dict[str, Any] = {"_remote": None, "_target": None, "_args": (), "_kwargs": {}}
        return {**self.__dict__, **bound, "_kind": self._kind.value}

    def _end(self, signum: signal.Signals) -> None:
        self._check_closed()
        self._started(signum.name).end(signum)

    def _started(self, what: str) -> "_Remote":
        if self._remote is None:
            raise AssertionError(f"can only {what} a started process")
        return self._remote

    def _reap(self) -> None:
        if self._remote is not None and self._remote.ended.is_set():
            _children.discard(self)

    def _check_closed(self) -> None:
        if self._closed:
            raise ValueError("process object is closed")


class _Remote:
    """The remote side of a process: its call, its host and pid, its exit code."""

    def __init__(self, process: Process, function: Callable[..., Any], item: Any) -> None:
        # Keep the name only. The threads that wait for the answer must not keep the object alive.
        self._name = process.name
        self.ended = threading.Event()
        self._over = threading.Event()  # set when the process, or this program, has ended
        self.exitcode: int | None = None
        self._started = threading.Event()
        self._where: dict[str, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._call_id = new_id()
        self._kind = process._kind
        name, payload = encoding.encode_call(function, Mode.APPLY, [item])
        self._kept = getattr(payload, "kept", None)  # the parcels of its arguments
        options = context.inherited()
        options["process"] = {
            "name": process.name,
            "identity": list(process._identity),
            "daemon": process.daemon,
            "parent": _describe_me(),
        }
        if context.current() is not None:
            self._check_room()
        replies = inbox.inbox()
        argsrepr, kwargsrepr = encoding.arguments_repr(Mode.APPLY, [item])
        template = publishing.Template(
            encoding.PROCESS,
            self._kind.value,
            serializer="msgpack",
            ignore_result=True,
            reply_to=replies.name,
        )
        message = template.render(
            self._call_id,
            [payload, replies.name, options],
            {},
            shadow=name,
            argsrepr=argsrepr,
            kwargsrepr=kwargsrepr,
        )
        replies.expect(self._call_id, self._on_reply, name=self._name, on_news=self._on_news)
        try:
            publishing.push(self._kind.value, [message])
        except BaseException:
            replies.forget(self._call_id)
            raise
        Background(self._watch, "process-watch", end=self._over.set).start()

    def whereabouts(self) -> dict[str, Any]:
        """Pid and host. Waits until they are known or the process has ended."""
        self._started.wait()
        return self._where

    def end(self, signum: signal.Signals) -> None:
        """Withdraw the process if it waits in the queue, or end it if it runs."""
        if self.ended.is_set():
            return
        if self._kind is PoolKind.THREADS and self._started.is_set():
            raise NotImplementedError(
                "a thread cannot be terminated from outside: let the function look at an Event, "
                "or run it on prefork"
            )
        # The worker that runs the process ends it. A worker that takes it later skips it.
        app.control.revoke(self._call_id, terminate=True, signal=signum.name)
        if not self._started.is_set() or self._kind is PoolKind.GEVENT:
            self._finish(-signum)

    def sentinel(self) -> int:
        """The readable end of a pipe whose other end is closed when the process ends."""
        with self._lock:
            if self._pipe is None:
                self._pipe = os.pipe()
                if self.ended.is_set():
                    os.close(self._pipe[1])
            return self._pipe[0]

    def close(self) -> None:
        """Close the sentinel."""
        with self._lock:
            if self._pipe is not None:
                os.close(self._pipe[0])
                self._pipe = None

    def _on_news(self, payload: bytes) -> None:
        where = codec.loads(payload)
        if type(where) is not dict or type(where.get("worker")) is not str:
            raise NotPortable("the news of a process", "it does not say where it runs")
        self._where = where
        self._started.set()

    def _on_reply(self, reply: bytes | Exception) -> None:
        if isinstance(reply, Exception):
            _say_once(reply)
            self._finish(1)
            return
        try:
            outcome = decode_outcomes(reply, 1)[0]
        except Exception as error:
            outcome = Outcome(False, error)
        if outcome.ok:
            self._finish(outcome.value if type(outcome.value) is int else 1)
            return
        # A signal or os._exit ended the process, or the worker refused it.
        said = str(outcome.value)
        named = re.search(r"\b(SIG[A-Z]+)\b", said)
        left = re.search(r"\bexited prematurely: exitcode (\d+)\b", said)
        if named and named[1] in signal.Signals.__members__:
            self._finish(-signal.Signals[named[1]])
        elif left:
            self._finish(int(left[1]))
        else:
            print(f"{self._name}: {said}", file=sys.stderr)
            self._finish(1)

    def _finish(self, code: int) -> None:
        inbox.inbox().forget(self._call_id)
        with self._lock:
            if self.exitcode is None:
                self.exitcode = code
                self.ended.set()
                self._started.set()
                self._over.set()
                if self._pipe is not None:
                    os.close(self._pipe[1])

    def _watch(self) -> None:
        """Finish the process if its worker has died, because then no answer will arrive."""
        while not self._over.wait(_WATCH_S):
            if "worker" not in self._where:
                continue
            try:
                alive = {worker.process for worker in presence.workers()}
            except DaySixError:
                continue  # Redis is unavailable, so the worker may be alive
            if self._where["worker"] not in alive:
                self._finish(-signal.SIGKILL)

    def _check_room(self) -> None:
        # The workers' figures may be this old. A task that ran may have ended since.
        deadline = time.monotonic() + _ROOM_WITHIN_S
        while not self._has_room():
            if time.monotonic() > deadline:
                raise DaySixError(
                    f"a task cannot start a process on {self._kind.value}: every place is taken, "
                    "and one that waits for it would never end; start more workers or choose "
                    "another kind"
                )
            time.sleep(_ROOM_EVERY_S)

    def _has_room(self) -> bool:
        workers = presence.consuming(self._kind.value)
        return sum(w.concurrency - w.running for w in workers) > 0


_failure: Exception | None = None


def failure() -> Exception | None:
    """The error that cut this program off from its processes, or None."""
    return _failure


def _say_once(error: Exception) -> None:
    """Print an error once, even if it cuts off many processes."""
    global _failure  # noqa: PLW0603 - one inbox a process, one failure
    if error is not _failure:
        _failure = error
        print(error, file=sys.stderr)


class _Here:
    """A task's own process or its parent, as `current_process` and `parent_process` show them."""

    def __init__(self, name: str, pid: int, *, daemon: bool, reply_to: str = "") -> None:
        self.name = name
        self.pid = self.ident = pid
        self.daemon = daemon
        self._reply_to = reply_to

    def is_alive(self) -> bool:
        """True while the process renews its lease."""
        return not self._reply_to or bool(store().exists(self._reply_to))

    def __repr__(self) -> str:
        return f"<Process name={self.name!r} pid={self.pid}>"


def current_process() -> Any:
    """The current process: in a task the remote one, else the standard library's."""
    around = context.current()
    if around is None:
        return multiprocessing.current_process()
    started = around.options.get("process")
    name = started["name"] if started else f"{around.kind}-worker"
    return _Here(name, os.getpid(), daemon=around.daemon)


def parent_process() -> Any:
    """The process that started the current one; None in the main process."""
    around = context.current()
    if around is None:
        return multiprocessing.parent_process()
    parent = around.options.get("process", {}).get("parent") or {"name": "caller", "pid": 0}
    return _Here(parent["name"], parent["pid"], daemon=False, reply_to=around.reply_to)


def active_children() -> list[Process]:
    """The processes that this process has started and that have not ended."""
    return [process for process in list(_children) if process.is_alive()]


def _next_identity() -> tuple[int, ...]:
    """The number of a new process, below the number of its parent: 1, then 1:1, 1:2 …"""
    around = context.current()
    if around is None:
        return (next(_counter),)
    above = around.options.get("process", {}).get("identity", ())
    return (*above, next(around.children))


def _describe_me() -> dict[str, Any]:
    return {"name": current_process().name, "pid": os.getpid()}


_registered = False


def _end_at_exit() -> None:
    global _registered  # noqa: PLW0603 - once per process, as atexit is
    if not _registered:
        _registered = True
        atexit.register(_leave_no_children)
        endings.on_signal.append(end_children)
    if context.current() is None:
        endings.watch_signals()


def _leave_no_children() -> None:
    """At exit, end daemonic processes and join the others, as the standard library does.

    After Ctrl-C end all: a terminal would send the signal to local processes too.
    """
    if endings.by_signal() or isinstance(getattr(sys, "last_value", None), KeyboardInterrupt):
        end_children()
    end_children(daemons_only=True)
    for process in active_children():
        process.join()


def end_children(*, daemons_only: bool = False) -> None:
    """End this process's children and wait for them. A child on threads cannot be ended."""
    ending = [process for process in active_children() if process.daemon or not daemons_only]
    for process in ending:
        try:
            process.terminate()
        except NotImplementedError:
            _children.discard(process)  # a thread cannot be killed
    for process in ending:
        process.join(_END_WITHIN_S)
        _children.discard(process)


def _forget_children() -> None:
    _children.clear()


os.register_at_fork(after_in_child=_forget_children)

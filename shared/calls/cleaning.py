"""Undoes the changes that a script made in a worker's process, before it serves another caller.

    call of run A   ──► first call of a script: note the state of the process
    call of run A   ──► finds what A has set up (globals, initializers)
    call of run B   ──► restore what A has changed, forget A's modules, note that B is served
    ordinary task   ──► likewise

Some changes cannot be restored: a lowered limit, a closed output, a running thread. A prefork
worker then replaces the process after the next task. It does not replace every process that ran a
script, because starting a process takes time. Threads and greenlets share their process. There,
the changes of a script are restored when none of its calls runs.
"""

import contextlib
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import types
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import DefaultContext, getcontext, setcontext
from typing import Any

from celery import signals

from shared.broker.messages import queue_of
from shared.calls import context, redirection, references
from shared.calls.encoding import NAMES
from shared.pools import PoolKind


class _Loggers:
    """The level, handlers and filters of each logger."""

    def __init__(self) -> None:
        self._before = {logger: self._look(logger) for logger in self._all()}
        self._disabled = logging.root.manager.disable

    @staticmethod
    def _all() -> list[logging.Logger]:
        known = logging.root.manager.loggerDict.values()
        return [logging.root, *(one for one in known if isinstance(one, logging.Logger))]

    @staticmethod
    def _look(logger: logging.Logger) -> tuple[Any, ...]:
        parts = logger.level, logger.propagate, logger.disabled
        return *parts, list(logger.handlers), list(logger.filters)

    def restore(self) -> None:
        logging.disable(self._disabled)
        fresh: tuple[Any, ...] = (logging.NOTSET, True, False, [], [])
        for logger in self._all():
            level, propagate, disabled, handlers, filters = self._before.get(logger, fresh)
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled
            logger.handlers[:], logger.filters[:] = handlers, filters


def _is_code(value: Any) -> bool:
    return isinstance(value, type | types.FunctionType | types.BuiltinFunctionType)


class _Library:
    """The functions and classes of the standard library, which a script may have patched."""

    def __init__(self) -> None:
        self._before = {
            name: {key: value for key, value in vars(module).items() if _is_code(value)}
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in sys.stdlib_module_names and module is not None
        }

    def restore(self) -> None:
        for name, before in self._before.items():
            now = vars(sys.modules[name]) if name in sys.modules else {}
            for key, value in before.items():
                if now.get(key) is not value:
                    now[key] = value


class _Limits:
    """The process's limits and its output files."""

    def __init__(self) -> None:
        self._before = self._look()

    @staticmethod
    def _look() -> list[Any]:
        limits = {number: resource.getrlimit(number) for number in _RLIMITS}
        return [limits, os.getpriority(os.PRIO_PROCESS, 0), [_file(number) for number in (1, 2)]]

    def restore(self) -> bool:
        """Put back what can be; whether that was all."""
        for number, limit in self._before[0].items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(number, limit)
        return self._look() == self._before


_RLIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def _file(number: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Process:
    """The present state of this process, which `restore` restores, in the calling thread."""

    def __init__(self) -> None:
        self._loggers, self._library, self._bounds = _Loggers(), _Library(), _Limits()
        self._cwd = os.getcwd()
        self._environment = dict(os.environ)
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._path, self.argv = list(sys.path), list(sys.argv)
        self._meta_path, self._path_hooks = list(sys.meta_path), list(sys.path_hooks)
        self._modules = set(sys.modules)
        self._hooks = {name: getattr(sys, name) for name in ("excepthook", "displayhook")}
        self._thread_hook = threading.excepthook
        self._limits = sys.getrecursionlimit(), sys.getswitchinterval(), socket.getdefaulttimeout()
        self._digits = sys.get_int_max_str_digits()
        self._filters = list(warnings.filters)
        self._decimal, self._default_decimal = getcontext().copy(), DefaultContext.copy()
        self._locale = locale.setlocale(locale.LC_ALL)
        self._collecting, self._thresholds = gc.isenabled(), gc.get_threshold()
        self._is_main = threading.current_thread() is threading.main_thread()
        self._handlers = self._look_at_handlers() if self._is_main else {}

    @staticmethod
    def _look_at_handlers() -> dict[int, Any]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    def restore(self) -> bool:
        """Put back what can be; whether that was all."""
        self._library.restore()
        self._loggers.restore()
        with contextlib.suppress(OSError):  # the folder is gone
            os.chdir(self._cwd)
        os.environ.clear()
        os.environ.update(self._environment)
        time.tzset()
        os.umask(self._umask)
        sys.path[:], sys.argv[:] = self._path, self.argv
        sys.meta_path[:], sys.path_hooks[:] = self._meta_path, self._path_hooks
        for name, hook in self._hooks.items():
            setattr(sys, name, hook)
        threading.excepthook = self._thread_hook
        sys.settrace(None)
        sys.setprofile(None)
        recursion, interval, timeout = self._limits
        sys.setrecursionlimit(recursion)
        sys.setswitchinterval(interval)
        sys.set_int_max_str_digits(self._digits)
        socket.setdefaulttimeout(timeout)
        warnings.filters[:] = self._filters  # type: ignore[index]
        # Python keeps for each module which warnings were shown; a new version forgets them all.
        warnings._filters_mutated()  # type: ignore[attr-defined]  # noqa: SLF001 - as its own functions do
        setcontext(self._decimal.copy())
        for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
            setattr(DefaultContext, name, getattr(self._default_decimal, name))
        locale.setlocale(locale.LC_ALL, self._locale)
        random.seed()  # not to what it was: two runs would draw the same numbers
        gc.set_threshold(*self._thresholds)
        (gc.enable if self._collecting else gc.disable)()
        self._restore_handlers()
        left = self._forget_modules()
        return self._bounds.restore() and not left

    def _restore_handlers(self) -> None:
        if not (self._is_main and threading.current_thread() is threading.main_thread()):
            return
        with contextlib.suppress(AttributeError):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._look_at_handlers().items():
            before = self._handlers[number]
            if handler is not before and before is not None:
                signal.signal(number, before)

    def _forget_modules(self) -> list[threading.Thread]:
        """Have the script's own modules imported anew; its threads that go on."""
        folders = redirection.forget()
        names = []
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules.get(name), "__file__", None) or ""
            if file.startswith(folders):
                names.append(name)
                del sys.modules[name]
        references.forget()
        targets = [(one, getattr(one, "_target", None)) for one in threading.enumerate()]
        return [one for one, target in targets if getattr(target, "__module__", "") in names]


class Cleaner:
    """Notes which script run this process serves. Methods are safe from any thread or greenlet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: Process | None = None
        self._run = ""  # the run of `producer run` that this process has served last
        self._active: Counter[str] = Counter()

    @contextlib.contextmanager
    def serving(self, run: str, kind: str, argv: Sequence[bytes] = ()) -> Iterator[None]:
        """Serve a call of a script's run, with its ``sys.argv``; of none, where `run` is empty."""
        with self._lock:
            self._turn_to(run, kind)
            self._active[run] += 1
            if argv and run == self._run:
                sys.argv[:] = map(os.fsdecode, argv)
        try:
            yield
        finally:
            with self._lock:
                self._active[run] -= 1
                if self._before is not None and not self._active[self._run]:
                    # Celery starts a worker anew with the words that stand there.
                    sys.argv[:] = self._before.argv

    def _turn_to(self, run: str, kind: str) -> None:
        if run == self._run or any(self._active[name] for name in self._active if name != run):
            return  # else its calls run beside this one, in one process
        if self._run and self._before is not None:
            is_clean = self._before.restore()
            signals.task_prerun.disconnect(self._before_task)
            if not is_clean and kind == PoolKind.PREFORK:
                context.wear_out()
        self._active.clear()
        self._run = run
        if run:
            self._before = self._before or Process()
            signals.task_prerun.connect(self._before_task)

    def _before_task(self, task: Any = None, **_: Any) -> None:
        """Celery's signal. A call says by itself whose it is; any other task is nobody's."""
        if task is not None and task.name not in NAMES:
            kind = queue_of(task.request.delivery_info)
            with self._lock:
                self._turn_to("", kind)


cleaner = Cleaner()

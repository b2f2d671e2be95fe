"""CPython's own tests of ``multiprocessing``, bound to this library at run time.

The interpreter's ``test`` package is imported as it is; only the names through which its test
classes reach ``multiprocessing`` are replaced. Processes are the standard library's own, local
ones: what is tested here are queues, locks and managed objects.
"""

import importlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.dummy
import multiprocessing.heap
import signal
import sys
import types
import unittest
from typing import ClassVar

from shared import multiprocessing as multiprocessing_here
from shared.multiprocessing import (
    barriers,
    connection,
    dummy,
    managers,
    process,
    queues,
    sharedctypes,
    synchronize,
)
from tests.cpython.exclusions import EXCLUSIONS

# The bases of CPython's module, and for each the kinds of processes it is written for.
BASES = [
    "_TestQueue",
    "_TestLock",
    "_TestSemaphore",
    "_TestCondition",
    "_TestEvent",
    "_TestBarrier",
    "_TestValue",
    "_TestArray",
    "_TestContainers",
    "_TestConnection",
    "_TestPoll",
    "_TestSharedCTypes",
]
ALONE = ["TestSimpleQueue", "TestSyncManagerTypes", "TestWait"]
LIMIT_S = 60

OURS = {
    "Queue": queues.Queue,
    "JoinableQueue": queues.JoinableQueue,
    "SimpleQueue": queues.SimpleQueue,
    "Lock": synchronize.Lock,
    "RLock": synchronize.RLock,
    "Semaphore": synchronize.Semaphore,
    "BoundedSemaphore": synchronize.BoundedSemaphore,
    "Condition": synchronize.Condition,
    "Event": synchronize.Event,
    "Barrier": barriers.Barrier,
    "Pipe": connection.Pipe,
    "Value": sharedctypes.Value,
    "Array": sharedctypes.Array,
    "RawValue": sharedctypes.RawValue,
    "RawArray": sharedctypes.RawArray,
}
MANAGED = [
    *("Queue", "JoinableQueue", "Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"),
    *("Event", "Barrier", "Value", "Array", "list", "dict", "Namespace"),
]


class Facade(types.ModuleType):
    """``multiprocessing`` as the test classes see it: ours where it is ours."""

    def __init__(self):
        super().__init__("multiprocessing")
        for name, value in OURS.items():
            setattr(self, name, value)
        self.Manager = managers.Manager
        self.managers = managers
        self.queues = queues

    def __getattr__(self, name):
        return getattr(multiprocessing, name)


def load():
    """CPython's module, its names bound to this library; ImportError where it is missing."""
    module = importlib.import_module("test._test_multiprocessing")
    module.multiprocessing = Facade()
    module.Value, module.copy = sharedctypes.Value, sharedctypes.copy
    module.wait = connection.wait
    return module


class TookTooLong(BaseException):
    """Not a TimeoutError, which many a line here catches."""


class Limited:
    """Ends a test that hangs, and binds what the tests do not reach through their mixin."""

    facade: ClassVar = {}

    def run(self, result=None):
        def give_up(*_):
            raise TookTooLong(f"no end after {LIMIT_S} s")

        before = signal.signal(signal.SIGALRM, give_up)
        signal.alarm(LIMIT_S)
        wait, multiprocessing.connection.wait = multiprocessing.connection.wait, connection.wait
        facade = (
            vars(sys.modules["test._test_multiprocessing"].multiprocessing) if self.facade else {}
        )
        facade.update(self.facade)
        try:
            return super().run(result)
        finally:
            for name in self.facade:
                del facade[name]
            multiprocessing.connection.wait = wait
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)


def mixins():
    """For each kind of processes, the names that CPython's mixin would have."""
    functions = {name: staticmethod(value) for name, value in OURS.items()}
    processes = type(
        "ProcessesMixin",
        (Limited,),
        {**functions, "TYPE": "processes", "Process": multiprocessing.get_context("fork").Process},
    )
    threads = type(
        "ThreadsMixin",
        (Limited,),
        {**functions, "TYPE": "threads", "Process": multiprocessing.dummy.Process},
    )

    def manager_method(name):
        return property(lambda self: getattr(self.manager, name))

    def set_up(cls):
        cls.manager = managers.Manager()

    def tear_down(cls):
        cls.manager.shutdown()

    managed = type(
        "ManagerMixin",
        (Limited,),
        {
            **{name: manager_method(name) for name in MANAGED},
            "TYPE": "manager",
            "Process": multiprocessing.get_context("fork").Process,
            "setUpClass": classmethod(set_up),
            "tearDownClass": classmethod(tear_down),
        },
    )
    return {"processes": processes, "threads": threads, "manager": managed}


def no_waiters(self, cond):
    """CPython's check looks into its own semaphores; this is what it means."""
    self.assertEqual(cond._waiters(), 0)


# The bases whose functions run on the workers.
REMOTE = ["_TestPool", "_TestPoolWorkerErrors", "_TestProcess", "_TestSubclassingProcess"]


def remote_mixins():
    """Pools and processes on the workers; threads are those of the threads pool."""
    kinds = mixins()
    functions = {
        "Pool": staticmethod(multiprocessing_here.Pool),
        "Process": process.Process,
        "current_process": staticmethod(process.current_process),
        "parent_process": staticmethod(process.parent_process),
        "active_children": staticmethod(process.active_children),
        "set_executable": staticmethod(multiprocessing_here.set_executable),
        # As the tests reach it by the module's name.
        "facade": {"Process": process.Process, "current_process": process.current_process},
    }
    threads = {
        **functions,
        "Pool": staticmethod(dummy.Pool),
        "Process": dummy.Process,
        "facade": {"Process": dummy.Process, "current_process": process.current_process},
    }
    return {
        "processes": type("RemoteProcessesMixin", (kinds["processes"],), functions),
        "threads": type("RemoteThreadsMixin", (kinds["threads"],), threads),
        "manager": type(
            "RemoteManagerMixin",
            (kinds["manager"],),
            {**functions, "Pool": classmethod(lambda cls, *args: cls.manager.Pool(*args))},
        ),
    }


def remote_classes(home):
    """The test classes for pools and processes, which the workers find in module `home`."""
    module = load()
    kinds = remote_mixins()
    found = {}
    for name in REMOTE:
        base = getattr(module, name)
        for kind in base.ALLOWED_TYPES:
            class_name = f"With{kind.capitalize()}{name[1:]}"
            found[class_name] = type(class_name, (base, kinds[kind], unittest.TestCase), {})
    exclude(found, home)
    return found


def exclude(found, home):
    """Skip what is excluded, with its reason; the classes belong to module `home`."""
    for class_name, cls in found.items():
        cls.__module__ = home
        for (excluded, test), reason in EXCLUSIONS.items():
            if excluded == class_name and hasattr(cls, test):
                setattr(cls, test, unittest.skip(reason)(getattr(cls, test)))


def test_classes():
    """All the test classes, by name; what is excluded is skipped with its reason."""
    module = load()
    kinds = mixins()
    module.ProcessesMixin = kinds["processes"]
    found = {}
    for name in BASES:
        base = getattr(module, name)
        for kind in base.ALLOWED_TYPES:
            class_name = f"With{kind.capitalize()}{name[1:]}"
            body = {"check_invariant": no_waiters} if name == "_TestCondition" else {}
            found[class_name] = type(class_name, (base, kinds[kind], unittest.TestCase), body)
    for name in ALONE:
        body = {"manager_class": managers.SyncManager} if name == "TestSyncManagerTypes" else {}
        found[name] = type(name, (Limited, getattr(module, name)), body)
    exclude(found, "tests.cpython.test_cpython")
    return found


if sys.platform == "win32":
    raise ImportError("the adapter's processes are forked")

"""Measures the cost of one item in the process that runs it, for `producer compare`.

A probe runs only what the allow-list allows: the function travels by name, as in any call.
"""

import asyncio
import inspect
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.calls import codec
from shared.errors import DaySixError, MessageTooLarge

_KIB = 1024
# macOS counts in bytes what Linux counts in KiB.
_RUSAGE_UNIT = 1 if sys.platform == "darwin" else _KIB


def probe(function: Callable[..., Any], args: list[Any]) -> tuple[dict[str, Any], bytes]:
    """Run one item. Returns its cost and its encoded value, because real results travel too."""
    before = _before()
    error, value = "", None
    try:
        value = function(*args)
        if inspect.iscoroutine(value):
            value = _run_coroutine(value)
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}".partition("\n")[0][:200]
    return _after(before, value, error)


async def probe_async(function: Callable[..., Any], args: list[Any]) -> dict[str, Any]:
    """Await one item of a coroutine function. Returns its cost."""
    before = _before()
    error, value = "", None
    try:
        value = await function(*args)
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}".partition("\n")[0][:200]
    return _after(before, value, error)[0]


def surroundings() -> dict[str, Any]:
    """A description of this process: Python, GIL, cores, limits, memory."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "gil": bool(enabled()),
        "cores": cores(),
        "cpu_limit": _cpu_limit(),
        "memory_limit_bytes": _memory_limit_bytes(),
        "memory_free_bytes": memory_free_bytes(),
        "rss_bytes": _rss_bytes(),
        "parent_rss_bytes": _rss_bytes(str(os.getppid())),
    }


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_age_s() -> float | None:
    """The seconds since this process began, or None if the system does not tell."""
    try:
        # The name, in parentheses, may hold blanks; the 22nd field is the 20th after it.
        stat = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    return round(uptime_s - int(stat[19]) / os.sysconf("SC_CLK_TCK"), 2)


def memory_free_bytes() -> int | None:
    """The memory that this process may still use: the machine's or the container's free memory."""
    free = [_meminfo("MemAvailable")]
    limit, used = _memory_limit_bytes(), _first_number(_CGROUP / "memory.current")
    if limit is not None:
        free.append(limit - (used or 0))
    known = [number for number in free if number is not None]
    return min(known) if known else None


def _before() -> dict[str, Any]:
    # The clock last: what is measured begins there.
    return {
        "rss": _rss_bytes(),
        "peak": _peak_bytes(),
        "process_cpu": time.process_time(),
        "cpu": time.thread_time(),
        "began": time.time(),
    }


def _after(before: dict[str, Any], value: Any, error: str) -> tuple[dict[str, Any], bytes]:
    ended = time.time()
    cpu_s = time.thread_time() - before["cpu"]
    rss, peak = _rss_bytes(), _peak_bytes()
    refused, payload, size = "", b"", 0
    try:
        payload = codec.dumps(value, what="the result")
        size = len(payload)
    except MessageTooLarge as raised:
        refused, size = str(raised), raised.size_bytes
    except DaySixError as raised:
        refused = str(raised)
    return {
        "began": before["began"],
        "ended": ended,
        "cpu_s": cpu_s,
        "process_cpu": [before["process_cpu"], time.process_time()],
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "thread": threading.get_ident(),
        "rss": [before["rss"], rss],
        # The process's peak belongs to this item only if the item raised it.
        "peak": peak if peak > before["peak"] else max(before["rss"], rss),
        "error": error,
        "refused": refused,
        "size": size,
    }, payload


def _run_coroutine(coroutine: Any) -> Any:
    if "gevent.monkey" in sys.modules:
        import gevent.monkey  # noqa: PLC0415 - it is loaded already

        if gevent.monkey.is_module_patched("threading"):
            # All greenlets share a thread, which can run only one event loop. Borrow a thread.
            return gevent.get_hub().threadpool.apply(asyncio.run, (coroutine,))
    return asyncio.run(coroutine)


def _rss_bytes(pid: str = "self") -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _peak_bytes() if pid == "self" else 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RUSAGE_UNIT


_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_1_NONE = 1 << 60


def _cpu_limit() -> float | None:
    try:
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        given = _first_number(_CGROUP / "cpu" / "cpu.cfs_quota_us")
        period_us = _first_number(_CGROUP / "cpu" / "cpu.cfs_period_us")
        return given / period_us if given and given > 0 and period_us else None
    return None if quota == "max" else int(quota) / int(period)


def _memory_limit_bytes() -> int | None:
    limit = _first_number(_CGROUP / "memory.max")
    if limit is None:
        limit = _first_number(_CGROUP / "memory" / "memory.limit_in_bytes")
    return limit if limit is not None and limit < _CGROUP_1_NONE else None


def _first_number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _meminfo(name: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    return None

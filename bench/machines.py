"""Describes the machine and the date of a run."""

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from producer.stack import _redis_server


def circumstances() -> dict[str, Any]:
    """Return the date and the machine, for a report."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """Return the cores, the processor and the software. The caller sets the load later."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    version = subprocess.run(
        [_redis_server(), "--version"], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis": " ".join(version[:1] + [word for word in version if word.startswith("v=")]),
        "load": 0.0,
    }


def describe(found: dict[str, Any]) -> str:
    """Return the result of `machine` as text."""
    return (
        f"{found['cores']} cores ({found['processor']}), {found['system']}, Python "
        f"{found['python']}, {found['redis']}. Load of the machine at each session, median: "
        f"{found['load']:.1f}."
    )

"""The source distributions of Celery and kombu, which hold their tests; nothing is copied here."""

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from tests.support import ROOT

LOCK = ROOT / "requirements" / "dev.txt"


class Unavailable(Exception):
    """Raised when the sources cannot be had; the text says why."""


def folder(package):
    """The unpacked source distribution of a package, in the version that is installed."""
    name = f"{package}-{version(package)}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "day-six" / "sources"
    found = cache / name
    if not found.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        archive = cache / f"{name}.tar.gz"
        if not archive.is_file():
            _download(package, cache)
        unpacked = cache / f"{name}.{os.getpid()}"
        with tarfile.open(archive) as files:
            files.extractall(unpacked, filter="data")
        (unpacked / name).rename(found)
        unpacked.rmdir()
    return found


def _download(package, cache):
    """Fetch it with pip, which compares it with the lock's hash."""
    pinned = re.search(rf"^{package}==.*\\\n(?:.*\\\n)*.*", LOCK.read_text(), re.MULTILINE)
    wanted = cache / f"{package}.txt"
    wanted.write_text(re.sub(r"^(\S+)\[[^]]*\]", r"\1", pinned[0]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--no-binary", ":all:", "--no-build-isolation", "--require-hashes"),
            *("--disable-pip-version-check", "--dest", str(cache), "-r", str(wanted)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Unavailable(f"the sources of {package} cannot be had: {(lines or ['?'])[-1]}")

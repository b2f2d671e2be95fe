"""Installs each compared system in its own environment, with the packages of its lock file."""

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".bench"
LOCKS = Path(__file__).parent / "requirements"


class SetUpFailed(Exception):
    """Raised when an environment cannot be created."""


def python(name: str) -> Path:
    """Return an environment's interpreter. Creates it if it is missing or its lock changed."""
    folder = FOLDER / name
    interpreter = folder / "bin" / "python"
    lock = LOCKS / f"{name}.txt"
    mark = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == mark:
        return interpreter
    print(f"bench: installing {lock.relative_to(ROOT)} (once)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    done = subprocess.run(
        [
            *(str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "-r", str(lock)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise SetUpFailed(f"{name} cannot be installed: {said}")
    stamp.write_text(mark)
    return interpreter


def versions(interpreter: Path) -> dict[str, str]:
    """Return the versions of the packages that affect the speed of an environment."""
    wanted = (
        "celery kombu gevent dramatiq taskiq taskiq-redis huey rq arq saq redis hiredis uvloop"
    ).split()
    code = (
        "import importlib.metadata as m, json, sys\n"
        "found = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "print(json.dumps({n: found[n] for n in sys.argv[1:] if n in found}))"
    )
    done = subprocess.run(
        [str(interpreter), "-c", code, *wanted], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found

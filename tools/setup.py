"""Make .venv with what a lock file pins, and the `producer` command itself.

    python3 tools/setup.py local     what runs: service, embedded server
    python3 tools/setup.py dev       that, and what tests and lint need

Written so that any Python can at least parse it: one that is too old is told so in a line.
"""

from __future__ import print_function

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
OLDEST = (3, 11)
# The user's own packages, see tools/packages.py.
EXTRA = os.path.join(ROOT, "requirements", "extra.txt")


def main(argv):
    if len(argv) != 2 or argv[1] not in ("local", "dev"):
        stop("usage: python3 tools/setup.py local|dev", 2)
    check_python()
    lock = os.path.join(ROOT, "requirements", argv[1] + ".txt")
    mark = marker(lock)
    if is_ready(argv[1], mark):
        return
    try:
        make_venv()
        install(lock, mark)
    except KeyboardInterrupt:
        stop("interrupted; the next run goes on from here", 130)


def check_python():
    if sys.version_info[:2] < OLDEST:
        stop(
            "Python %d.%d is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"
            % sys.version_info[:2]
        )


def has_extra():
    """Whether there are packages of the user's own."""
    return os.path.exists(EXTRA) and os.path.getsize(EXTRA) > 0


def marker(lock):
    """All that must be unchanged for an installation to be valid."""
    digest = hashlib.sha256(b"%d.%d" % sys.version_info[:2])
    for path in [lock, os.path.join(ROOT, "pyproject.toml")] + [EXTRA] * has_extra():
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def stamp(lock_name):
    return os.path.join(VENV, "set-up-" + lock_name)


def is_ready(name, mark):
    # What tests need holds what runs: after `dev`, `local` has nothing to do.
    names = (name,) if name == "dev" else (name, "dev")
    lock = os.path.join(ROOT, "requirements", "dev.txt")
    marks = {name: mark, "dev": marker(lock)}
    for candidate in names:
        try:
            with open(stamp(candidate)) as file:
                if file.read() == marks[candidate] and works(PYTHON):
                    return True
        except (IOError, OSError):
            continue
    return False


def works(python):
    """Whether a virtual environment is whole, and made by the version of Python that asks."""
    look = "import sys, pip; sys.exit(sys.version_info[:2] != %r)" % (sys.version_info[:2],)
    try:
        return subprocess.call([python, "-c", look], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def make_venv():
    if works(PYTHON):
        return
    try:
        import ensurepip
        import venv
    except ImportError:
        stop(
            "this Python has no venv: install it (Debian, Ubuntu: apt install python3-venv), "
            "or name another: make PYTHON=/path/to/python3"
        )
    say("making .venv")
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", VENV],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode:
        stop("cannot make .venv: " + last_line(made.stdout))


def install(lock, mark):
    say("installing from %s (once; about a minute)" % os.path.relpath(lock, ROOT))
    pip("--require-hashes", "-r", lock, *(["-r", EXTRA] * has_extra()))
    pip("--no-build-isolation", "--no-deps", "--editable", ROOT)
    name = os.path.splitext(os.path.basename(lock))[0]
    with open(stamp(name), "w") as file:
        file.write(mark)


def pip(*words):
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # The user's own PIP_* stand, except that packages never go past .venv.
    environment = dict({"PIP_RETRIES": "2"}, **os.environ)
    environment["PIP_USER"] = "0"
    done = subprocess.run(
        command + list(words),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode == 0:
        return
    text = done.stdout
    unreachable = (
        "onnection",
        "Temporary failure",
        "Network is unreachable",
        "timed out",
        "(from versions: none)",
    )
    if "HASH" in text.upper() and "DO NOT MATCH" in text.upper():
        stop("a package differs from its hash in the lock file: do not use it, ask your mirror")
    if any(word in text for word in unreachable):
        stop(
            "cannot reach the package index: check the network, or name a mirror or proxy "
            "(PIP_INDEX_URL, PIP_PROXY, PIP_CERT, or pip.conf)"
        )
    stop("pip failed: " + last_line(text))


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no reason given"])[-1]


def say(line):
    print("set-up: " + line, file=sys.stderr)


def stop(line, status=1):
    say(line)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv)

"""Install what requirements/extra.in names: with hashes, beside what Day Six itself pins.

    python3 tools/packages.py        write requirements/extra.txt, install it into .venv

The image takes requirements/extra.txt along when it is built.
"""

from __future__ import print_function

import os
import re
import subprocess
import sys
import tempfile

import setup
from setup import ROOT, say, stop

WANTED = os.path.join(ROOT, "requirements", "extra.in")
LOCKED = setup.EXTRA
DEV = os.path.join(ROOT, "requirements", "dev.txt")
UV = os.path.join(setup.VENV, "bin", "uv")


def main():
    setup.check_python()
    try:
        setup.make_venv()
        install_uv()
        lock()
        kind = "dev" if os.path.exists(setup.stamp("dev")) else "local"
        setup.main(["setup.py", kind])
    except KeyboardInterrupt:
        stop("interrupted; the next run goes on from here", 130)
    say(
        "requirements/extra.txt is installed in .venv; the image has it after: docker compose build"
    )


def install_uv():
    """The one tool that writes hashes for every platform, as the lock file pins it."""
    if os.path.exists(UV):
        return
    with open(DEV) as file:
        pinned = re.search(r"^uv==(?:.*\\\n)*.*\n", file.read(), re.MULTILINE).group()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(pinned)
        file.flush()
        setup.pip("--require-hashes", "--no-deps", "-r", file.name)


def lock():
    """Write the versions and hashes; nothing changes when that fails."""
    aside = LOCKED + ".new"
    command = [UV, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header"]
    command += ["--no-emit-index-url", "--no-annotate", "--python-version", "3.11"]
    # Nothing that Day Six pins may change, not even for its tests.
    command += ["--constraints", DEV, "--output-file", aside, WANTED]
    environment = dict(os.environ)
    for ours, theirs in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("SSL_CERT_FILE", "PIP_CERT")):
        if environment.get(theirs):
            environment.setdefault(ours, environment[theirs])
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if done.returncode:
            stop(problem(done.stdout))
        os.replace(aside, LOCKED)
    finally:
        if os.path.exists(aside):
            os.remove(aside)


def problem(text):
    """The output of uv in one line."""
    said = " ".join(re.sub("[^\x20-\x7e]", " ", text).split())
    missing = re.search(r"Because (\S+) was not found in the package registry", said)
    if missing:
        return "requirements/extra.in: there is no package %r in the package index" % missing.group(
            1
        )
    if re.search(r"Failed to fetch|error sending request|dns error|onnection", said):
        return (
            "cannot reach the package index: check the network, or name a mirror or proxy "
            "(PIP_INDEX_URL, PIP_CERT)"
        )
    said = re.sub(r"^(error: )?(No solution found when resolving dependencies: )?", "", said)
    return "requirements/extra.in: " + said[:500]


if __name__ == "__main__":
    main()

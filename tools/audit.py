"""Ask for known holes in what a lock file pins: ``python tools/audit.py requirements/local.txt``.

pip-audit does the asking. Where its database cannot be reached, that is said, and no failure.
Exit 1 for a known hole, or for any other failure of pip-audit.
"""

import json
import subprocess
import sys

ASK = ["pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
# What pip-audit says, in JSON or on stderr, of an index that it cannot reach or that lacks
# the database.
UNREACHABLE = ("not found on PyPI", "ConnectionError", "Connection", "timed out", "HTTPError")


def main(lock):
    """Ask, and tell in a line or a line for each hole; the exit code."""
    asked = [sys.executable, "-m", *ASK, "--timeout", "10", "--format", "json", "-r", lock]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        packages = []
    holes = [(found, hole) for found in packages for hole in found.get("vulns", [])]
    for found, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "no version yet"
        say(f"{found['name']} {found['version']} has {hole['id']}; mended in {mended}")
    skipped = [found for found in packages if "skip_reason" in found]
    if holes:
        return 1
    if packages and not skipped:
        say(f"no known holes in the {len(packages)} packages of {lock}")
        return 0
    trouble = skipped[0]["skip_reason"] if skipped else last_line(done.stderr)
    if any(sign in trouble for sign in UNREACHABLE):
        asked_of = f"{len(packages) - len(skipped)} of {len(packages)} packages of {lock}"
        say(f"asked for {asked_of}, the database cannot be reached for the others: {trouble}")
        return 0
    say(f"pip-audit failed: {trouble}")
    return 1


def last_line(text):
    """The last line of a message."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def say(line):
    """One line."""
    sys.stdout.write(f"audit: {line}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

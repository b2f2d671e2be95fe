"""Each installation's own passwords: made at the first start, kept in files.

    python -m shared.passwords              make those that are missing (the `passwords` service)
    python -m shared.passwords show         print Flower's login
    python -m shared.passwords set flower   take a new one from the terminal or from stdin

``REDIS_PASSWORD_FILE`` and ``FLOWER_PASSWORD_FILE`` say where. Nothing here ever writes a
password into a log, an argument or an environment variable.
"""

# ruff: noqa: T201 - a command line of its own

import getpass
import hashlib
import os
import secrets
import sys
from pathlib import Path

from shared.broker import inspection
from shared.broker.keys import SCHEDULE_ENTRY
from shared.errors import SettingsError
from shared.pools import PoolKind
from shared.settings import current, read_secret

# What `redis-server` reads: its users, in the words of its configuration.
REDIS_CONF = "redis.conf"
# Nobody administers Redis over the network: no CONFIG, FLUSHALL, KEYS, DEBUG, MONITOR, ACL …;
# kombu loads its scripts.
_COMMANDS = "+@all -@admin -@dangerous -function -script +script|load +script|exists"


def _looks_only() -> str:
    """The rules of a user that reads everything, and writes what a question to a worker needs.

    Each writing command has its own keys: names are exact, and where an asker's own id is part of
    one, nothing reads a task from there.
    """
    answers = f"~*.{inspection.REPLIES} ~*.{inspection.REPLIES}??[369]"
    tables = " ".join(
        f"~_kombu.{table}.{exchange}"
        for table in ("binding", "binding_permanent")
        for exchange in (inspection.REPLIES, "celeryev")
    )
    return " ".join(
        (
            "%R~* &* -@all +@read +@connection +@transaction -@admin -@dangerous",
            "+psubscribe +punsubscribe",
            f"(&/*.{inspection.EXCHANGE} +publish)",
            f"({answers} +brpop +del)",
            f"({tables} +sadd +srem)",
        )
    )


# Each user of Redis: the folder of its password, beside that of Redis itself, and what it may do.
# A producer's locks, queues and managers have names of their own: no list of keys could hold them.
_USERS = {
    "worker": ("worker", f"~* &* {_COMMANDS}"),
    "producer": ("producer", f"~* &* {_COMMANDS}"),
    # Knows the schedule, and puts messages on the pools' queues.
    "beat": (
        "beat",
        " ".join([f"~{SCHEDULE_ENTRY}*", *(f"~{kind.value}" for kind in PoolKind), _COMMANDS]),
    ),
    "flower": ("flower-redis", _looks_only()),
}
_USAGE = "usage: python -m shared.passwords [show | set flower]"


def make() -> list[Path]:
    """Make what is missing; the files that were made."""
    redis_file, flower_file = _path("REDIS_PASSWORD_FILE"), _path("FLOWER_PASSWORD_FILE")
    folders = redis_file.parent.parent
    files = {name: folders / folder / redis_file.name for name, (folder, _) in _USERS.items()}
    made = [path for path in (redis_file, flower_file, *files.values()) if not path.exists()]
    for path in made:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _write(path, secrets.token_urlsafe(32))
    # Made anew at each start, so that the two can never differ. Redis itself keeps one password,
    # of the user that its health check is; of the others it has the hashes.
    lines = [
        # Off: nobody can log in as this user. But it is who reads the append-only file after a
        # restart, and what it may not do is left out there where a script or a transaction wrote
        # it (https://github.com/redis/redis/issues/14541).
        "user default reset off ~* &* +@all",
        f"user health reset on #{_hash(redis_file)} +ping",
        *(
            f"user {name} reset on #{_hash(files[name])} {rules}"
            for name, (_, rules) in _USERS.items()
        ),
    ]
    _write(redis_file.with_name(REDIS_CONF), "\n".join(lines))
    return made


def _hash(path: Path) -> str:
    return hashlib.sha256(read_secret("REDIS_PASSWORD_FILE", path).encode()).hexdigest()


def set_flower(password: str) -> None:
    """Replace Flower's password; ValueError for one that a browser could not send."""
    # Flower compares ASCII only; a line end or a space at the ends would be lost in the file.
    if not password.isascii() or not password.isprintable() or password != password.strip():
        raise ValueError("the password may have printable ASCII characters only, no spaces around")
    if len(password) < 8:
        raise ValueError("the password needs at least 8 characters")
    _write(_path("FLOWER_PASSWORD_FILE"), password)


def _path(variable: str) -> Path:
    path: Path | None = getattr(current(), variable.lower())
    if path is None:
        raise SettingsError(variable, " is not set: name the file that is to hold the password")
    return path


def _write(path: Path, text: str) -> None:
    # Write aside and rename: a reader sees the old file or the new one, never half of it.
    # Readable for its owner alone from its first moment.
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    aside.replace(path)


def _ask() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password of Flower: ")
    if getpass.getpass("Once more: ") != password:
        raise ValueError("the two differ, nothing was changed")
    return password


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        match arguments:
            case [] | ["make"]:
                for path in make():
                    print(f"made {path}", flush=True)
            case ["show"]:
                make()  # nothing has been started yet: then these are the ones to come
                password = read_secret("FLOWER_PASSWORD_FILE", _path("FLOWER_PASSWORD_FILE"))
                print(f"user:     {current().flower_user}\npassword: {password}")
            case ["set", "flower"]:
                set_flower(_ask())
                print("changed; now restart Flower: docker compose restart flower", file=sys.stderr)
            case ["-h" | "--help"]:
                print(_USAGE)
            case _:
                print(_USAGE, file=sys.stderr)
                return 2
    except (SettingsError, ValueError, OSError) as error:
        print(f"passwords: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Each command beside odd streams: full, closed, read by nobody, in another encoding."""

import errno
import json
import os
import pty
import subprocess
import sys
import uuid

import pytest

from producer import __main__
from tests.support import RedisServer

SHOWS = [
    ["--help"],
    ["--version"],
    ["tasks"],
    ["tasks", "--json"],
    ["status"],
    ["status", "--json"],
    ["metrics"],
    ["send", "sleep", "0"],
    ["send", "sleep", "0", "--json"],
    ["dead", "list"],
    ["dead", "list", "--json"],
    ["result", str(uuid.UUID(int=1))],
    ["result", str(uuid.UUID(int=1)), "--json"],
    ["watch", "--once"],
]


@pytest.fixture(scope="module")
def environment():
    with RedisServer() as server:
        server.client.zadd("dead", {"x": 1})
        server.client.hset("dead:letters", "x", json.dumps({"id": "x", "reason": "n\u00e4\u2192"}))
        yield {**os.environ, "REDIS_URL": server.url}


def producer(words, environment, **streams):
    """Run a command; its exit status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "producer", *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        **streams,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", SHOWS, ids=" ".join)
def test_a_full_disk_is_one_line(environment, words):
    with open("/dev/full", "w") as full:
        status, said = producer(words, environment, stdout=full)

    assert status == 1
    assert said.splitlines()[-1].startswith("producer: cannot write")
    assert os.strerror(errno.ENOSPC) in said
    assert "Traceback" not in said


@pytest.mark.parametrize("words", SHOWS[2::2], ids=" ".join)
def test_a_pipe_that_nobody_reads_is_no_traceback(environment, words):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        status, said = producer(words, environment, stdout=pipe)

    assert status == 1
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        (["status"], [0]),
        (["send", "sleep", "0", "--json"], [2]),
        (["dead", "list"], [1]),
        (["status", "--json"], [0, 2]),
        (["metrics"], [0, 1, 2]),
    ],
)
def test_a_closed_stream_ends_no_command(environment, words, closed):
    def close():
        for number in closed:
            os.close(number)

    done = subprocess.run(
        [sys.executable, "-m", "producer", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=close,
    )

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (1 not in closed)
    if "--json" in words and done.stdout:
        json.loads(done.stdout)


@pytest.mark.parametrize(
    "variables",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=str,
)
@pytest.mark.parametrize(
    "words", [["status"], ["dead", "list"], ["dead", "list", "--json"]], ids=" ".join
)
def test_a_terminal_of_another_encoding_shows_all_of_it(environment, words, variables):
    done = subprocess.run(
        [sys.executable, "-m", "producer", *words],
        env={**environment, **variables},
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()
    if "--json" in words:
        json.loads(done.stdout)


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_of_its_own_shows_whole_numbers(environment, columns):
    master, slave = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "producer", "status"],
            env={**environment, "COLUMNS": str(columns), "TERM": "xterm"},
            stdout=slave,
            check=True,
        )
        shown = os.read(master, 65536).decode()
    finally:
        os.close(slave)
        os.close(master)

    assert "\u2026" not in shown
    assert "prefork" in shown


def test_every_command_that_prints_is_tried():
    named = {words[0] for words in SHOWS if not words[0].startswith("-")}
    others = {"cancel", "compare", "stack", "run", "tour"}  # they wait, measure, or run others
    registered = {
        command.name or command.callback.__name__
        for name, module in __main__.GROUPS
        if name is None
        for command in module.app.registered_commands
    }

    assert registered - named <= others

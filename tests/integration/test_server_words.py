"""A server that answers each command with an error: the producer says the server's own word."""

import socketserver
import threading
import uuid

import pytest

from producer import __main__
from tests.conftest import forget_settings

WORDS = {
    "READONLY": "You can't write against a read only replica",
    "MASTERDOWN": "Link with MASTER is down",
    "LOADING": "Redis is loading the dataset in memory",
    "BUSY": "Redis is busy running a script",
    "OOM": "command not allowed when used memory > 'maxmemory'",
    "MISCONF": "Redis is configured to save RDB snapshots",
    "NOREPLICAS": "Not enough good replicas to write",
    "CLUSTERDOWN": "The cluster is down",
    "TRYAGAIN": "Multiple keys request during rehashing of slot",
    "ERR": "DB index is out of range",
}
REFUSALS = {
    "NOAUTH": "Authentication required",
    "WRONGPASS": "invalid username-password pair",
    "NOPERM": "this user has no permissions",
}
# A server says these to commands that write, and only to them.
TO_WRITERS = {"OOM", "MISCONF"}
ID = str(uuid.UUID(int=7))
COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["metrics"],
    ["send", "sleep", "0"],
    ["dead", "list"],
    ["dead", "show", "x"],
    ["dead", "retry", "x"],
    ["dead", "drop", "--all", "--yes"],
    ["result", ID],
    ["cancel", ID],
    ["watch", "--once"],
]


class Refuses(socketserver.StreamRequestHandler):
    """Greets, and then refuses every command in the same words."""

    def handle(self):
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].upper())
            greets = words[0] in (b"HELLO", b"CLIENT", b"SELECT")
            self.wfile.write(b"+OK\r\n" if greets else f"-{self.server.answer}\r\n".encode())


@pytest.fixture(scope="module")
def server():
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", 0), Refuses) as found, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        patch.setenv("REDIS_URL", f"redis://:topsecret@127.0.0.1:{found.server_address[1]}/0")
        forget_settings()
        yield found
        found.shutdown()
    forget_settings()


@pytest.mark.parametrize("word", [*WORDS, *REFUSALS])
def test_a_command_says_the_servers_own_word_and_guesses_nothing(server, monkeypatch, capsys, word):
    text = {**WORDS, **REFUSALS}[word]
    server.answer = f"{word} {text}."

    for words in [["send", "sleep", "0"]] if word in TO_WRITERS else COMMANDS:
        monkeypatch.setattr("sys.argv", ["producer", *words])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        err = capsys.readouterr().err

        assert ended.value.code == 1, (words, err)
        assert text in err, (words, err)
        assert len(err.splitlines()) == 1, (words, err)
        assert "topsecret" not in err
        assert ("check the user and password" in err) == (word in REFUSALS), (words, err)

"""What a task printed is shown on a terminal of another encoding, too."""

import io
import sys

import pytest

from shared.calls import output


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize(
    "text", ["\N{SNOWMAN} m\N{LATIN SMALL LETTER U WITH DIAERESIS}\n", "\ud800\n"]
)
def test_what_a_terminal_cannot_show_is_an_escape_and_the_rest_stays(monkeypatch, encoding, text):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", terminal)

    output.show("out", text + "more\n", "")

    shown = terminal.buffer.getvalue()
    assert shown == (text + "more\n").encode(encoding, "backslashreplace")

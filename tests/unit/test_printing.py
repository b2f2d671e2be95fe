"""What stands on a terminal is what there is: whole, and as others have named it."""

import builtins
import uuid

import pytest

from producer import __main__, status
from producer.commands import service
from producer.commands.deadletters import _table
from producer.printing import console
from shared.broker import deadletters


def test_what_others_have_named_is_no_emoji_and_no_markup(capsys):
    console().print("mine:boom: [/red] [bold]x")

    assert capsys.readouterr().out == "mine:boom: [/red] [bold]x\n"


def test_the_ids_of_dead_letters_are_whole_on_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    letter = {
        "id": str(uuid.uuid4()),
        "died": 1e9,
        "task": "a_task_with_a_long_name",
        "queue": "prefork",
        "reason": "its worker was lost three times, and nobody knows why",
    }

    console().print(_table([letter]))

    assert letter["id"] in capsys.readouterr().out


@pytest.mark.parametrize("when", ["producer.arguments", "producer.status"])
def test_ctrl_c_is_one_line_also_while_the_command_is_loaded(capsys, monkeypatch, when):
    def load(name, _globals=None, _locals=None, names=(), level=0):
        if when in (name, f"{name}.{(names or ('',))[0]}"):
            raise KeyboardInterrupt
        return plain(name, _globals, _locals, names, level)

    plain = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", load)
    monkeypatch.setattr("sys.argv", ["producer", "status"])

    with pytest.raises(SystemExit) as ended:
        __main__.main()

    assert ended.value.code == 130
    assert capsys.readouterr().err == "producer: interrupted\n"


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        (0, ""),
        (1, "producer: 1 dead letter; see: producer dead list\n"),
        (2000, "producer: 2,000 dead letters; see: producer dead list\n"),
    ],
)
def test_status_counts_dead_letters_in_words(capsys, monkeypatch, letters, said):
    monkeypatch.setattr(status, "read", list)
    monkeypatch.setattr(status, "warn", lambda: None)
    monkeypatch.setattr(deadletters, "count", lambda: letters)

    service.status()

    assert capsys.readouterr().err == said


def test_a_word_that_starts_with_a_minus_is_refused_with_the_way_out(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["producer", "send", "sleep", "-1"])

    with pytest.raises(SystemExit) as ended:
        __main__.main()

    assert ended.value.code == 2
    assert capsys.readouterr().err == "producer: No such option: -1; arguments go after --\n"

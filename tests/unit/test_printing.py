"""What stands on a terminal is what there is: whole, and as others have named it."""

import uuid

from producer import deadletters
from producer.printing import console


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

    console().print(deadletters._table([letter]))

    assert letter["id"] in capsys.readouterr().out

"""What stands on a terminal is what there is: whole, and as others have named it."""

from producer.printing import console


def test_what_others_have_named_is_no_emoji_and_no_markup(capsys):
    console().print("mine:boom: [/red] [bold]x")

    assert capsys.readouterr().out == "mine:boom: [/red] [bold]x\n"

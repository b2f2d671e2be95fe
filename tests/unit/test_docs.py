"""The documents say what is so."""

import re

import pytest

from producer.__main__ import GROUPS
from shared.settings import Settings
from tests.support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
TOP_COMMANDS = [
    info for name, module in GROUPS if name is None for info in module.app.registered_commands
]


def settings_rows():
    """The table of settings, made from the settings themselves."""
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "8, or one per core"
        elif field.default is None or field.default == "":
            default = "none"
        else:
            value = field.default
            default = f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
        yield f"| `{name.upper()}` | {default} | {field.description} |"


@pytest.mark.parametrize("row", list(settings_rows()))
def test_each_setting_stands_in_its_table_with_its_default(row):
    assert row in SETTINGS


def test_the_table_names_no_setting_that_is_gone():
    named = set(re.findall(r"^\| `([A-Z_]+)`", SETTINGS, re.MULTILINE))

    assert named == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("command", [info.callback.__name__ for info in TOP_COMMANDS])
def test_each_command_stands_in_the_table_of_commands(command):
    assert f"| `producer {command}` |" in COMMANDS


@pytest.mark.parametrize("info", TOP_COMMANDS, ids=lambda info: info.callback.__name__)
def test_each_command_has_help_with_examples(info):
    assert info.callback.__doc__
    assert f"producer {info.callback.__name__}" in (info.epilog or "")


@pytest.mark.parametrize(
    "document",
    [
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
        "CONTRIBUTING.md",
        "README.md",
        "README.zh-CN.md",
    ],
)
def test_a_document_names_only_files_that_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")

    named = set(re.findall(r"\b((?:shared|worker|producer|tests|docs|examples)/[\w./-]*\w)", text))

    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing


def test_the_readme_starts_with_one_sentence_and_two_commands():
    first_screen = README.splitlines()[:20]

    commands = [line for line in first_screen if line.startswith("    $ ")]
    assert "make demo" in commands[0]
    assert "docker compose up" in commands[1]


def headings(text):
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]


def commands(text):
    """The indented lines without their comments, which are in the reader's language."""
    lines = re.findall(r"^    (\S.*)$", text.partition("\n## ")[2], re.MULTILINE)
    return [re.split(r" +# |  +", line.strip())[0] for line in lines]


def first_cells(text):
    """What stands in backquotes in the first column of each table, row by row."""
    rows = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    return [sorted(re.findall(r"`[^`]+`", row)) for row in rows]


@pytest.mark.parametrize("part", [headings, commands, first_cells])
def test_the_chinese_readme_keeps_step(part):
    chinese = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")

    assert part(README)
    assert part(chinese) == part(README)

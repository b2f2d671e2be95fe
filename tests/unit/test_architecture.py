"""docs/architecture.md names every module and every key, and CONTRIBUTING.md what there is."""

import re

import pytest

from producer.__main__ import GROUPS
from shared.broker import keys
from shared.handles.base import _KINDS
from shared.handles.leases import SUFFIXES
from tests.support import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = {
    path.relative_to(ROOT).as_posix()
    for package in ("shared", "worker", "producer")
    for path in (ROOT / package).rglob("*.py")
}
ROWS = set(re.findall(r"^\| `([\w/]+\.py)` \|", TEXT, re.MULTILINE))
KEYS = TEXT.partition("## Keys in Redis")[2]


def test_every_module_has_a_row():
    missing = {path for path in MODULES - ROWS if not path.endswith("/__init__.py")}

    assert missing == set()


def test_every_row_is_a_module():
    assert set() == ROWS - MODULES


def test_every_key_has_a_row():
    named = {name: value for name, value in vars(keys).items() if name.isupper() and name[0] != "_"}

    assert len(named) > 10
    missing = {name for name, key in named.items() if f"`{key}" not in KEYS}

    assert missing == set()


def test_every_key_of_a_handle_has_a_row():
    documented = set(re.findall(r"`(?:<handle>)?(:\w+)`", KEYS))

    assert documented == set(SUFFIXES) - {""}


def test_every_key_that_a_script_makes_up_has_a_row():
    made_up = {
        word
        for path in MODULES
        for word in re.findall(
            r"""['"]([a-z]+:)(?:['"] \.\.|\{)""", (ROOT / path).read_text(encoding="utf-8")
        )
        if path.startswith(("shared/handles", "shared/multiprocessing"))
    }

    assert made_up >= {"bell:", "seat:", "hand:", "caller:"}
    made_up -= {f"{kind}:" for kind in _KINDS}
    assert [word for word in sorted(made_up) if f"`{word}<" not in KEYS] == []


def test_one_map_is_followed_in_ten_files():
    listed = re.findall(r"^\d+\. `([\w/.]+)`", TEXT.partition("## To follow")[2], re.MULTILINE)

    assert 0 < len(listed) <= 10
    assert set(listed) <= MODULES


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_that_is_named_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:shared|worker|producer|tests|docs)/[\w/.-]*)`", text)

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_module_of_commands_stands_in_the_table_of_commands():
    modules = {path.stem for path in (ROOT / "producer" / "commands").glob("[a-z]*.py")}

    assert {module.__name__.rpartition(".")[2] for _, module in GROUPS} == modules

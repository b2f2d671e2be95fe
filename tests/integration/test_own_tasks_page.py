"""The examples of docs/own-tasks.md, word for word, on each pool."""

import doctest
import re
import shlex
import sys

import pytest

from producer import arguments, known, schedules
from shared.app import app
from shared.pools import DEFAULT_QUEUE, PoolKind
from tests.integration import mytasks
from tests.support import ROOT, patient

PAGE = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    producer (send|schedule add) (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)


def test_the_module_of_the_page_is_the_one_that_is_tried():
    source = (ROOT / "tests" / "integration" / "mytasks.py").read_text(encoding="utf-8")

    assert BLOCKS[0] == "# mytasks.py\n" + source.partition('"""\n\n')[2]


@pytest.mark.parametrize("pool", [kind.value for kind in PoolKind])
def test_every_example_of_the_page_does_what_it_says(stack, monkeypatch, pool):
    monkeypatch.setitem(sys.modules, "mytasks", mytasks)
    app.conf.task_default_queue = pool
    for task in (mytasks.square, mytasks.flaky):
        task.__dict__.pop("_templates", None)
    examples = "\n".join(BLOCKS[1:]).replace("timeout=30", f"timeout={patient(30):.0f}")
    test = doctest.DocTestParser().get_doctest(examples, {}, "own-tasks.md", None, 0)
    said = []

    try:
        found = doctest.DocTestRunner().run(test, out=said.append)
    finally:
        app.conf.task_default_queue = DEFAULT_QUEUE

    assert found.attempted > 10
    assert found.failed == 0, "".join(said)


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_every_task_that_the_page_sends_is_found_and_takes_its_arguments(stack, command, words):
    words = shlex.split(words.replace("mytasks:", "tests.integration.mytasks:"))
    words = [word for word in words if word != "--wait"]
    if command == "schedule add":
        option, when, _, *words = words
        assert schedules.cron(when) if option == "--cron" else schedules.every(float(when))

    contract, _ = known.find(words[0])

    assert arguments.parse(contract, words[1:], "{}")

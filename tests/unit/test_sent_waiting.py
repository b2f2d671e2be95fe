"""What `producer send --wait` says where the wait ends before the task does."""

import pytest
import typer

from producer import sending
from producer.commands import tasks as commands


@pytest.mark.parametrize(
    ("ids", "named"), [(["the-id"], "the-id goes on"), (["a", "b"], "2 tasks go on")]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_an_end_of_the_wait_names_the_task_that_goes_on(monkeypatch, capsys, ids, named, error):
    def outcomes(*_):
        raise error

    monkeypatch.setattr(sending, "outcomes", outcomes)

    with pytest.raises((typer.Exit, SystemExit)):
        commands._wait_and_print(None, ids, 1.0, json=False)

    assert named in capsys.readouterr().err

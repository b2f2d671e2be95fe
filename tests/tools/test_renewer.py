"""What the renewer sees of a process that is stopped, or gone."""

import os
import signal

import pytest

from shared.broker import renewer


@pytest.mark.parametrize("has_proc", [True, False])
def test_it_tells_the_living_the_stopped_and_the_gone_apart(has_proc, monkeypatch):
    if has_proc and not renewer._HAS_PROC:
        pytest.skip("this system has no /proc")
    monkeypatch.setattr(renewer, "_HAS_PROC", has_proc)
    child = os.fork()
    if not child:
        signal.pause()
    try:
        watched = renewer.Watched(child)
        alive = watched.state()
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        stopped = watched.state()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    zombie = watched.state()
    os.waitpid(child, 0)

    assert alive in "RS"
    assert stopped == "T"
    assert (zombie, watched.state()) == ("Z", "Z")

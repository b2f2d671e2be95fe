"""The tour's own side: what becomes of a row that does not end."""

import signal
import threading
import time
from dataclasses import replace

import pytest

from producer import tour


@pytest.mark.parametrize("name", ["S1", "S4"])
def test_a_row_that_does_not_end_says_so(monkeypatch, name):
    monkeypatch.setattr(tour, "TIMEOUT_S", 0.3)
    (row,) = [row for row in tour.ROWS if row.name == name]

    side = tour._run_script(row, [])

    assert side.problem.startswith("not done after 0 s")


@pytest.mark.parametrize("timed", [False, True])
def test_ctrl_c_ends_both_sides_and_what_they_started_at_once(timed):
    (row,) = [row for row in tour.ROWS if row.name == "S1"]
    scripts = []

    def interrupt_when_it_runs():
        while not tour._running:
            time.sleep(0.01)
        scripts.extend(tour._running)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt_when_it_runs, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        tour.run(replace(row, cluster=lambda: tour.Side(0.0)), timed=timed)

    assert time.monotonic() - began < tour._INTERRUPTED_WITHIN_S + 1
    assert all(script.poll() is not None for script in scripts)

"""The tour's own side: what becomes of a row that does not end."""

import pytest

from producer import tour


@pytest.mark.parametrize("name", ["S1", "S4"])
def test_a_row_that_does_not_end_says_so(monkeypatch, name):
    monkeypatch.setattr(tour, "TIMEOUT_S", 0.3)
    (row,) = [row for row in tour.ROWS if row.name == name]

    side = tour._run_script(row, [])

    assert side.problem.startswith("not done after 0 s")

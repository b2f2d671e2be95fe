"""The laboratory's arithmetic and advice, on figures made for it."""

import time
from types import SimpleNamespace

import psutil
import pytest

from producer.arguments import WrongUsage
from producer.laboratory import (
    advice,
    comparing,
    executors,
    figures,
    findings,
    laws,
    pages,
    showing,
    tasks,
)
from producer.laboratory.executors import Executor
from producer.printing import console
from shared.laboratory import probes

ITEM_S = 0.05
WORKER = {
    "host": "one",
    "cores": 2,
    "cpu_limit": None,
    "gil": True,
    "python": "3.13.0",
    "memory_limit_bytes": None,
    "rss_bytes": 60_000_000,
    "parent_rss_bytes": 70_000_000,
}


def cell(executor, concurrency, rate, *, failed=0, spread=0.02):
    kind = Executor(executor).kind
    return {
        "executor": executor,
        "where": "cluster" if kind else "local",
        "pool": kind.value if kind else None,
        "concurrency": concurrency,
        "passes": 1,
        "rates": [rate * (1 - spread), rate, rate * (1 + spread)],
        "items_a_second": rate,
        "spread": [rate * (1 - spread), rate * (1 + spread)],
        "speedup": rate * ITEM_S,
        "overhead_s": 0.004,
        "failed": failed,
        "skipped": "",
        "problem": "",
        "latency_s": {"p50": 0.05, "p95": 0.06, "p99": 0.07},
        "latencies_s": [0.05, 0.06],
        "queued_s": 0.001,
        "running_s": ITEM_S,
        "cpu_s": 1.0,
        "peak_memory_bytes": 80_000_000,
        "processes": 1,
        "startup_s": None,
        "overlap": 1.0,
        "timeline": [["one:1", 0, 0.0, 0.05]],
    }


def report(*cells, cpu_share, releases_gil=None):
    found = {
        "task": "mine:work",
        "items": 20,
        "rounds": 3,
        "interrupted": False,
        "started": 0.0,
        "seconds": 1.0,
        "machine": WORKER,
        "workers": dict.fromkeys(("prefork", "threads", "gevent"), WORKER),
        "work": {
            "item_s": ITEM_S,
            "cpu_share": cpu_share,
            "item_bytes": 1_000_000,
            "result_bytes": 10,
            "too_large": False,
        },
        "cells": [cell("serial", 1, 1 / ITEM_S), *cells],
        "notes": [],
        "findings": [],
        "releases_gil": releases_gil,
    }
    for one in found["cells"]:
        one["ceiling"] = laws.ceiling(found, one)
        one["amdahl_serial_share"] = laws.serial_share(one)
    return found


def test_what_computes_wants_a_process_for_each_core():
    advised = advice.recommend(
        report(
            cell("prefork", 1, 18),
            cell("prefork", 2, 35),
            cell("prefork", 8, 36),
            cell("threads", 8, 19),
            cell("gevent-pool", 8, 18),
            cpu_share=1.0,
        )
    )

    assert (advised["pool"], advised["concurrency"]) == ("prefork", 2)
    assert advised["confidence"] == "sure"
    assert "--pool prefork --concurrency 2" in advised["command"]
    assert "services:\n  prefork:\n" in advised["compose"]


def test_what_waits_wants_the_pool_that_holds_most():
    advised = advice.recommend(
        report(
            cell("prefork", 8, 150),
            cell("threads", 16, 300),
            cell("gevent-pool", 100, 1500),
            cell("gevent-pool", 200, 1520),
            cpu_share=0.02,
        )
    )

    # The smaller size, since the larger gains nothing.
    assert (advised["pool"], advised["concurrency"]) == ("gevent", 100)


def test_no_difference_to_rely_on_gives_the_simpler_pool_and_says_so():
    advised = advice.recommend(
        report(cell("prefork", 2, 35), cell("threads", 2, 37), cpu_share=1.0, releases_gil=True)
    )

    assert advised["pool"] == "prefork"
    assert advised["confidence"] == "within the noise"


def test_noisy_runs_are_not_called_sure():
    advised = advice.recommend(
        report(cell("prefork", 2, 35, spread=0.4), cell("threads", 2, 20, spread=0.4), cpu_share=1)
    )

    assert advised["confidence"] == "unsure"


def test_a_size_that_ran_once_is_not_taken_for_a_certain_one():
    noisy, once = cell("prefork", 2, 30, spread=0.4), cell("threads", 2, 20)
    once["rates"], once["spread"] = [20], [20, 20]

    advised = advice.recommend(report(noisy, once, cpu_share=1))

    assert figures.noise(once) is None
    assert advised["confidence"] == "fairly sure"


def test_a_pool_in_which_items_fail_is_not_recommended():
    advised = advice.recommend(
        report(cell("prefork", 2, 20), cell("gevent-pool", 50, 900, failed=30), cpu_share=0.1)
    )

    assert advised["pool"] == "prefork"


def test_a_process_that_grows_is_to_be_replaced():
    advised = advice.recommend(report(cell("prefork", 2, 35), cpu_share=1.0), 2**20)

    assert "--max-memory-per-child" in advised["command"]
    assert advised["max_memory_per_child_kib"] * 1024 > WORKER["rss_bytes"]


def test_a_neighbour_that_slows_some_rounds_does_not_change_the_advice():
    disturbed = cell("prefork", 2, 15)
    disturbed["rates"] = [14, 15, 34]

    advised = advice.recommend(report(disturbed, cell("threads", 2, 19), cpu_share=1.0))

    assert advised["pool"] == "prefork"


def test_no_size_is_recommended_that_no_law_can_use():
    advised = advice.recommend(report(cell("prefork", 2, 30), cell("prefork", 8, 45), cpu_share=1))

    assert advised["concurrency"] == 2


def test_nothing_measured_is_nothing_recommended():
    assert advice.recommend(report(cpu_share=1.0)) is None


@pytest.mark.parametrize("anyway", [60, 0])
def test_a_task_that_always_fails_is_no_reason_to_recommend_a_pool(anyway):
    found = report(cell("threads", 2, 900, failed=60), cpu_share=0.1)
    found["cells"][0]["failed"] = anyway

    assert advice.recommend(found) is None
    assert advice.why_none(found) == "every item failed"


def test_the_laws_bound_what_can_be_measured():
    computing = report(cell("prefork", 8, 36), cell("threads", 8, 19), cpu_share=1.0)
    _, prefork, threads = computing["cells"]

    # Two cores, 50 ms of computing and 4 ms of sending on the same ones.
    assert prefork["ceiling"] == pytest.approx(2 / 0.054)
    # One at a time under the GIL.
    assert threads["ceiling"] == pytest.approx(1 / 0.05)
    # Amdahl: 1.8 times at 8 leaves this share in series.
    assert prefork["amdahl_serial_share"] == pytest.approx((1 / 1.8 - 1 / 8) / (1 - 1 / 8))


def test_threads_that_scale_release_the_gil():
    assert laws.releases_gil(report(cell("thread", 2, 38), cpu_share=1.0)) is True
    assert laws.releases_gil(report(cell("thread", 2, 19), cpu_share=1.0)) is False
    assert laws.releases_gil(report(cell("thread", 2, 38), cpu_share=0.1)) is None


def run(*costs):
    """A run of items that took so long and computed so long."""
    fixed = {"peak": 0, "size": 10, "refused": ""}
    samples = [{"began": 0.0, "ended": took, "cpu_s": cpu_s, **fixed} for took, cpu_s in costs]
    return {"samples": samples, "seconds": 1.0}


def test_an_item_by_itself_is_taken_from_the_least_disturbed_run():
    runs = [run((0.2, 0.05), (0.3, 0.05)), run((0.05, 0.05), (0.06, 0.05))]
    cells = [comparing.Cell(Executor.SERIAL, 1, runs=runs)]

    work = figures._work(SimpleNamespace(cells=cells, item_bytes=0, item_s=1.0))

    assert work["item_s"] == pytest.approx(0.055)
    assert work["cpu_share"] == pytest.approx(0.1 / 0.11)


def test_rounds_that_differ_much_are_called_a_busy_machine():
    quiet, busy = (
        report(
            cell("prefork", 2, 35, spread=spread),
            cell("threads", 2, 20, spread=spread),
            cpu_share=1,
        )
        for spread in (0.02, 0.4)
    )

    assert not list(findings._noise(quiet))
    assert "the rounds differ by ±40%" in next(iter(findings._noise(busy)))


def test_percentiles_are_values_that_occurred():
    values = [float(number) for number in range(1, 101)]

    assert [figures.percentile(values, p) for p in (50, 95, 99)] == [50, 95, 99]
    assert figures.percentile([7.0], 99) == 7.0


def sample(pid, began, ended):
    return {"host": "one", "pid": pid, "submitted": 0.0, "began": began, "ended": ended}


def test_a_lane_of_the_timeline_holds_one_item_at_a_time():
    bars = figures._timeline([sample(1, 0, 2), sample(1, 1, 3), sample(1, 2, 4), sample(2, 0, 1)])

    assert bars == [
        ["one:1", 0, 0, 2],
        ["one:2", 0, 0, 1],
        ["one:1", 1, 1, 3],
        ["one:1", 0, 2, 4],
    ]


def test_overlap_tells_waiting_together_from_one_after_the_other():
    assert figures._overlap([sample(1, 0, 1), sample(1, 1, 2)]) == 1.0
    assert figures._overlap([sample(1, 0, 1), sample(1, 0, 1)]) == 2.0


@pytest.mark.parametrize(
    ("words", "items"),
    [("", []), ("3", [[0], [1], [2]]), ("5..7", [[5], [6], [7]])],
)
def test_items_are_a_number_or_a_range(words, items):
    assert tasks._items(words) == items


def test_items_come_from_a_file_of_json_lines(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('"a.png"\n\n[1, 2]\n{"x": 1}\n')

    assert tasks._items(str(path)) == [["a.png"], [1, 2], [{"x": 1}]]
    path.write_text('"a.png"\nb.png\n')
    with pytest.raises(WrongUsage, match=r"line 2 is not JSON: .b\.png."):
        tasks._items(str(path))


def test_executors_and_sizes_are_lists_without_doubles():
    assert executors.choose("serial, prefork,serial") == [Executor.SERIAL, Executor.PREFORK]
    assert executors.sizes("8,1, 8") == (1, 8)


def test_a_process_knows_its_age():
    age_s = time.time() - psutil.Process().create_time()

    assert probes.process_age_s() == pytest.approx(age_s, abs=1.0)


def test_nothing_measured_is_no_table(capsys):
    found = report(cpu_share=1.0)
    found["cells"][0]["rates"] = []

    showing.show(found, console())

    assert "items/s" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def fonts():
    """Before any test: on a new machine, matplotlib starts a process to find them."""
    return pytest.importorskip("matplotlib.font_manager")


def test_a_page_asks_for_nothing_and_runs_nothing(fonts):
    found = report(cell("prefork", 2, 35), cell("threads", 2, 20), cpu_share=1.0)
    found["task"] = "<script>alert(1)</script>"
    found["recommendation"] = advice.recommend(found)

    text = pages.html(found)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "default-src 'none'" in text
    assert "src=" not in text

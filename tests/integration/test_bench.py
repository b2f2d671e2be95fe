"""The bench at work: its smallest form, ours beside plain Celery."""

import json
import subprocess
import sys

import pytest

from bench import environments, growth, limits, maps
from bench.measures import MEASURES, TINY
from tests.support import ROOT, patient, unavailable


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What a tiny run wrote and printed."""
    try:
        environments.python("celery")
    except environments.SetUpFailed as error:
        unavailable(str(error))
    folder = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench", "--scale", "tiny"),
            *("--systems", "day-six,celery-tuned", "--out", str(folder)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(180),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_every_measure_is_found_for_both(report):
    folder, _ = report

    samples = json.loads((folder / "bench.json").read_text(encoding="utf-8"))["samples"]

    found = {(sample["system"], sample["measure"]) for sample in samples}
    assert found >= {
        (name, measure.key) for name in ("day-six", "celery-tuned") for measure in MEASURES
    }
    assert found >= {
        (name, growth.measure(kind, length).key)
        for name in ("day-six", "celery-tuned")
        for kind in growth.KINDS
        for length in TINY.lengths
    }
    assert found >= {
        ("day-six", limits.measure(kind, of).key)
        for kind in (limits.ONE_BY_ONE, limits.TOGETHER)
        for of in limits.OF
    }
    assert found >= {("day-six", maps.measure(way).key) for way, _, _ in maps.WAYS}
    assert all(sample["value"] >= 0 for sample in samples)


def test_it_prints_and_writes_a_table_and_a_chart(report):
    folder, printed = report

    text = (folder / "bench.md").read_text(encoding="utf-8")

    assert "enqueue, individually" in printed
    assert "how many times better day-six is" in printed
    assert "| enqueue, individually | tasks/s |" in text
    assert "## Who is ahead of it" in text
    assert "## As the queue grows" in text
    assert "## Beside Redis itself" in text
    assert "| `multiprocessing.Pool(2)`, default chunks |" in text
    assert (folder / "bench.svg").read_text(encoding="utf-8").startswith("<svg ")


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("--systems", "sidekiq", "'sidekiq' is none of"),
        ("--parts", "lunch", "'lunch' is none of"),
        ("--rounds", "0", "'0' is not a whole number of at least 1"),
    ],
)
def test_what_it_does_not_know_is_wrong_usage(argument, value, said):
    done = subprocess.run(
        [sys.executable, "-m", "bench", argument, value],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == 2
    assert said in done.stderr


def test_two_workers_share_a_queue_and_the_limit_is_named(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.workers", "--scale", "tiny", "--tasks", "100ms"),
            *("--sizes", "1,2", "--out", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(120),
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "workers.md").read_text(encoding="utf-8")
    assert "| waits 100 ms | 1 |" in text
    assert "| waits 100 ms | 2 |" in text

"""The bench with workers in containers."""

import json
import sys

from tests.stack.conftest import ROOT, run


def test_two_containers_share_a_queue(image, tmp_path):
    run(
        *(sys.executable, "-m", "bench.workers", "--containers", "--image", image),
        *("--scale", "quick", "--rounds", "1", "--tasks", "100ms", "--sizes", "2"),
        *("--out", str(tmp_path)),
        within_s=240,
        cwd=ROOT,
    )

    found = json.loads((tmp_path / "workers.json").read_text(encoding="utf-8"))
    values = {sample["measure"]: sample["value"] for sample in found["samples"]}
    assert found["failures"] == []
    assert values["rate_100ms_2"] > 0
    assert values["workers_100ms_2"] > 0


def test_without_the_image_it_is_said_how_to_make_it(tmp_path):
    command = (
        "import sys; from bench.workers import main; sys.exit(0 if main() == 1 else 'no failure')"
    )

    said = run(
        *(sys.executable, "-c", command, "--containers", "--image", "day-six:never-built"),
        *("--tasks", "100ms", "--sizes", "1", "--out", str(tmp_path)),
        within_s=60,
        cwd=ROOT,
    )

    assert "waits 100 ms" not in said
    text = (tmp_path / "workers.md").read_text(encoding="utf-8")
    assert "there is no image day-six:never-built; docker compose build makes it" in text

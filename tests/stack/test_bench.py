"""The bench with workers in containers."""

import json
import subprocess
import sys

from tests.stack.conftest import ROOT, run
from tests.support import patient


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
    command = [sys.executable, "-m", "bench.workers", "--containers"]
    command += ["--image", "day-six:never-built", "--tasks", "100ms", "--sizes", "1"]

    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "there is no image day-six:never-built; docker compose build makes it" in said
    assert "Traceback" not in said
    assert not (tmp_path / "workers.md").exists()

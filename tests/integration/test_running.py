"""`producer run`: a script does on the workers what it does with plain Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, patient

SCRIPTS = Path("tests/integration/scripts")


@pytest.fixture
def run(stack):
    """Runs a script locally and on the workers; what became of both."""

    def run_both(script, *words):
        return [
            subprocess.run(
                [*command, SCRIPTS / script, *words],
                capture_output=True,
                text=True,
                timeout=patient(60),
                check=False,
                cwd=ROOT,
                # Unbuffered, local children would write into each other's lines.
                env={**os.environ, "PYTHONUNBUFFERED": ""},
            )
            for command in ([sys.executable], [sys.executable, "-m", "producer", "run"])
        ]

    return run_both


@pytest.mark.parametrize("script", ["pools.py", "processes.py", "executors.py"])
def test_a_script_prints_the_same_on_the_workers(run, script):
    local, cluster = run(script)

    # What different processes print at the same time comes in any order.
    assert sorted(cluster.stdout.splitlines()) == sorted(local.stdout.splitlines())
    assert cluster.stderr == local.stderr
    assert (cluster.returncode, local.returncode) == (0, 0)


@pytest.mark.parametrize("how", ["3", "said", "error", "remote error"])
def test_a_script_ends_as_it_would_locally(run, how):
    local, cluster = run("failing.py", how, "--an-option")

    assert cluster.stdout == local.stdout
    assert cluster.returncode == local.returncode
    assert cluster.stderr.splitlines()[-1:] == local.stderr.splitlines()[-1:]
    assert "producer" not in cluster.stderr


def test_an_error_of_the_script_shows_the_scripts_own_frames_only(run):
    local, cluster = run("failing.py", "error")

    assert cluster.stderr == local.stderr

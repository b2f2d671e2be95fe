"""`make lint` asks for known holes: what becomes of each answer."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "audit.py"
CLEAN = {"name": "celery", "version": "5.7.0", "vulns": []}
HOLE = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}
HOLED = {"name": "bad", "version": "1.0", "vulns": [HOLE]}
UNKNOWN = {"name": "amqp", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.fixture
def audit(monkeypatch):
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def answers(out, trouble=""):
        done = subprocess.CompletedProcess([], 1, out, trouble)
        monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: done)
        return module.main("lock.txt")

    return answers


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([CLEAN], 0, "no known holes in the 1 packages"),
        ([CLEAN, HOLED], 1, "bad 1.0 has PYSEC-1; mended in 1.1"),
        ([UNKNOWN, HOLED], 1, "bad 1.0 has PYSEC-1"),
        ([CLEAN, UNKNOWN], 0, "asked for 1 of 2 packages"),
    ],
)
def test_a_known_hole_fails_and_a_missing_database_does_not(audit, capsys, packages, status, said):
    assert audit(json.dumps({"dependencies": packages})) == status
    assert said in capsys.readouterr().out


def test_no_network_is_said_and_any_other_failure_is_one(audit, capsys):
    assert audit("", "requests.exceptions.ConnectionError: no route") == 0
    assert "cannot be reached" in capsys.readouterr().out
    assert audit("", "ERROR: the lock file is broken") == 1
    assert "pip-audit failed: ERROR: the lock file is broken" in capsys.readouterr().out

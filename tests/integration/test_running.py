"""`producer run`: a script does on the workers what it does with plain Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, patient

SCRIPTS = Path("tests/integration/scripts")


@pytest.fixture
def producer_run(stack):
    """Runs ``producer run`` with these words."""

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "producer", "run", *words],
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
            cwd=ROOT,
        )

    return run


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


@pytest.mark.parametrize(
    "script",
    ["pools.py", "processes.py", "executors.py", "sharing.py", "with-hyphen.py", "names.py"],
)
def test_a_script_prints_the_same_on_the_workers(run, script):
    local, cluster = run(script)

    # What different processes print at the same time comes in any order.
    assert sorted(cluster.stdout.splitlines()) == sorted(local.stdout.splitlines())
    assert cluster.stderr == local.stderr
    assert (cluster.returncode, local.returncode) == (0, 0)


@pytest.mark.parametrize("words", [(), ("--factor", "3", "a b", b"not-utf-8-\xff")])
def test_a_script_may_read_its_arguments_where_it_is_imported(run, words):
    local, cluster = run("arguments.py", *words)

    assert cluster.stdout == local.stdout
    assert cluster.stderr == local.stderr
    assert (cluster.returncode, local.returncode) == (0, 0)


def test_a_global_of_the_main_program_is_explained(producer_run):
    done = producer_run(SCRIPTS / "global_of_main.py")

    assert done.returncode == 1
    assert "NameError: name 'factor' is not defined" in done.stderr
    assert "'factor' is set under `if __name__ == \"__main__\":`" in done.stderr


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


@pytest.mark.parametrize("how", ["pool", "executor", "process", "function"])
def test_what_a_script_starts_without_a_guard_is_refused_in_one_line(producer_run, how):
    done = producer_run(SCRIPTS / "unguarded.py", how)

    (line,) = done.stderr.splitlines()
    assert "unguarded.py, line " in line
    assert 'put it under `if __name__ == "__main__":`' in line
    assert (done.returncode, done.stdout) == (1, "")


def test_the_same_script_runs_with_its_guard(producer_run):
    done = producer_run(SCRIPTS / "unguarded.py", "guarded")

    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 2, 4]\n", "")


@pytest.mark.parametrize(("options", "stays"), [([], "True\n"), (["--threads"], "False\n")])
def test_thread_pools_stay_in_the_script_unless_they_are_sent_away(producer_run, options, stays):
    done = producer_run(*options, SCRIPTS / "away.py")

    assert (done.returncode, done.stdout) == (0, stays), done.stderr


def test_a_script_can_be_named_as_a_module(producer_run):
    done = producer_run("-m", "tests.integration.scripts.unguarded", "guarded")

    assert (done.returncode, done.stdout) == (0, "[0, 2, 4]\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-"], "standard input"),
        (["nowhere.py"], "'nowhere.py' is not a file"),
        (["-m", "nowhere.at.all"], "no module 'nowhere.at.all'"),
        (["-m", "tests.integration"], "no module 'tests.integration'"),
    ],
)
def test_what_is_no_script_is_wrong_usage(producer_run, words, said):
    done = producer_run(*words)

    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 2


def test_a_part_of_a_line_is_shown_while_its_task_runs(stack, tmp_path):
    seen = tmp_path / "seen"
    script = subprocess.Popen(
        [sys.executable, "-m", "producer", "run", SCRIPTS / "progress.py", str(seen)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )

    first = script.stdout.read(5)
    seen.touch()
    rest, _ = script.communicate(timeout=patient(60))

    assert first + rest == b"half seen\n"


WAYS = (
    "folder",
    "environment",
    "log",
    "warnings",
    "signals",
    "interpreter",
    "numbers",
    "module",
    "library",
)


@pytest.fixture(scope="module")
def clean(stack):
    """How the processes of a worker are that has run no script but this."""
    done = subprocess.run(
        [sys.executable, "-m", "producer", "run", SCRIPTS / "clean.py"],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", WAYS)
def test_no_script_finds_what_another_did_to_its_process(producer_run, clean, how):
    spoilt = producer_run(SCRIPTS / "spoiling.py", how)
    found = producer_run(SCRIPTS / "clean.py")

    assert (spoilt.returncode, spoilt.stderr) == (0, "")
    assert found.stdout == clean, found.stderr


@pytest.mark.parametrize("how", ["limits", "thread"])
def test_a_process_that_cannot_be_restored_is_replaced(producer_run, how):
    producer_run(SCRIPTS / "spoiling.py", how)
    producer_run(SCRIPTS / "clean.py")

    found = producer_run(SCRIPTS / "limited.py")

    assert found.stdout == "{False}\n", found.stderr


def test_an_edited_script_just_runs_again(producer_run):
    script = ROOT / SCRIPTS / "edited.py"
    text = (
        "from multiprocessing import Pool\n\n\ndef give(_):\n    return {0}\n\n\n"
        'if __name__ == "__main__":\n    with Pool() as pool:\n'
        "        print(set(pool.map(give, range(40), chunksize=1)))\n"
    )
    try:
        said = []
        for version in ("1", "22"):
            script.write_text(text.format(version))
            said.append(producer_run(script).stdout)
    finally:
        script.unlink()

    assert said == ["{1}\n", "{22}\n"]

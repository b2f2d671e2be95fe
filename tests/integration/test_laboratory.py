"""`producer compare` and `producer tour --report` on real workers, and their pages in a browser."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios

import pytest

from tests.integration.test_producer import PRODUCER, producer
from tests.support import patient

TRAPS = "tests.integration.traps"
SMALL = ("--rounds", "1", "--json", "-")
SCHEMES = [("light", 1100), ("dark", 400)]


def compare(task, *words):
    done = producer("compare", task, *words, *SMALL)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cells(found, executor):
    return [cell for cell in found["cells"] if cell["executor"] == executor and cell["rates"]]


def test_what_waits_is_compared_and_many_greenlets_are_faster_than_one(stack):
    found = compare("sleep", "--on", "serial,prefork,gevent-pool", "--concurrency", "1,8,50")

    (serial,) = cells(found, "serial")
    assert found["work"]["cpu_share"] < 0.2
    assert found["recommendation"]["reason"].startswith("waits ")
    speedups = {c["concurrency"]: c["speedup"] for c in cells(found, "gevent-pool")}
    assert speedups[50] > 2 * speedups[1]
    assert serial["overhead_s"] < cells(found, "prefork")[0]["overhead_s"]
    # What a worker says of its own start.
    assert 0 < cells(found, "prefork")[0]["startup_s"] < 120
    # Two sizes beyond what a pool of eight holds: said, and not measured.
    assert any("hold 8 at once" in note for note in found["notes"])
    for cell in cells(found, "prefork"):
        assert len({bar[0] for bar in cell["timeline"]}) <= cell["concurrency"] + 1


def test_a_function_that_blocks_the_loop_is_found_out(stack):
    found = compare(
        f"{TRAPS}:blocks", "--items", "12", "--on", "serial,gevent,threads", "--concurrency", "1,4"
    )

    assert any("blocks the gevent loop" in text for text in found["findings"])
    assert found["recommendation"]["pool"] == "threads"


def test_growing_memory_is_found_out_and_children_are_to_be_replaced(stack):
    found = compare(
        f"{TRAPS}:grows", "--items", "16", "--on", "serial,prefork", "--concurrency", "1"
    )

    assert any("memory grows by" in text for text in found["findings"])
    assert "--max-memory-per-child" in found["recommendation"]["command"]


def test_an_item_that_raises_is_named_and_the_others_go_on(stack):
    found = compare(
        f"{TRAPS}:raises_on_17", "--items", "20", "--on", "serial,threads", "--concurrency", "2"
    )

    assert (
        "item 17 raised ValueError: seventeen (in every executor); the others went on"
        in (found["findings"])
    )
    assert [cell["failed"] for cell in found["cells"]] == [
        cell["passes"] for cell in found["cells"]
    ]


def test_a_result_that_cannot_travel_is_said(stack):
    found = compare(
        f"{TRAPS}:returns_50_mb", "--items", "3", "--on", "serial,threads", "--concurrency", "1"
    )

    assert any("it returns 50 MB" in text for text in found["findings"])


def test_a_function_that_ends_its_process_is_a_problem_of_that_executor(stack):
    found = compare(f"{TRAPS}:dies", "--items", "8", "--on", "serial,threads", "--concurrency", "1")

    assert "serial × 1: its process ended: exit status 7" in found["findings"]
    assert cells(found, "threads")


def test_a_function_that_ends_its_process_at_once_cannot_be_measured(stack):
    done = producer("compare", f"{TRAPS}:dies", "--items", "3..5", "--on", "serial", *SMALL)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("its process ended: exit status 7")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "neither one of cpu, numeric"),
        (("sleep", "--items", "many"), "neither a number, nor a range"),
        (("sleep", "--items", "0"), "are none"),
        (("sleep", "--args", "{}"), "not a JSON array"),
        (("sleep", "--on", "fork"), "--on 'fork' is not one of"),
        (("sleep", "--concurrency", "0"), "--concurrency '0'"),
        (("sleep", "--report", "r.pdf"), "should end in"),
        (("sleep", "--report", "/nowhere/r.html"), "there is no folder"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(stack, words, said):
    done = producer("compare", *words)

    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_function_that_is_not_allowed_is_not_even_imported(stack):
    done = producer("compare", "antigravity:fly")

    assert done.returncode == 1
    assert "'antigravity:fly' is outside TASK_MODULES" in done.stderr


def test_ctrl_c_gives_the_partial_report(stack, tmp_path):
    words = ("compare", "sleep", "--on", "serial,threads", "--rounds", "50", "--json", "-")
    process = subprocess.Popen(
        [*PRODUCER, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for line in process.stderr:
            if line.startswith("producer: round 2"):
                break
        process.send_signal(signal.SIGINT)
        said, trouble = process.communicate(timeout=patient(30))
    finally:
        process.kill()
        process.communicate()

    found = json.loads(said)
    assert process.returncode == 130
    assert "Traceback" not in trouble
    assert found["interrupted"]
    assert 1 <= len(cells(found, "serial")[0]["rates"]) < 50
    assert found["recommendation"]["pool"] == "threads"


@pytest.fixture(scope="module")
def pages(stack, tmp_path_factory):
    """A page of a comparison and one of a tour."""
    folder = tmp_path_factory.mktemp("pages")
    words = ("--on", "serial,thread,threads", "--concurrency", "1,4", "--rounds", "1")
    reports = [f"--report={folder / name}" for name in ("sleep.html", "sleep.md", "sleep.png")]
    done = producer("compare", "sleep", *words, *reports)
    assert done.returncode == 0, done.stderr
    done = producer("tour", "--row", "S2", f"--report={folder / 'tour.html'}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["sleep.html", "tour.html"])
@pytest.mark.parametrize(("scheme", "width"), SCHEMES)
def test_the_page_shows_itself_offline(pages, chromium, name, scheme, width):
    context = chromium.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True
    )
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((pages / name).as_uri())

    assert not complaints
    assert requests == [(pages / name).as_uri()]
    # Nothing stands out of the screen, and each chart has its size.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.locator("figure svg")
    assert charts.count() >= 1
    for box in [chart.bounding_box() for chart in charts.all()]:
        assert 100 < box["width"] <= width
    back, text = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (brightness(back) > brightness(text)) == (scheme == "light")
    context.close()


def brightness(colour):
    return sum(int(part) for part in colour.strip("rgba()").split(",")[:3])


def test_the_same_report_comes_as_markdown_and_as_a_picture(pages):
    text = (pages / "sleep.md").read_text(encoding="utf-8")

    assert (pages / "sleep.png").read_bytes().startswith(b"\x89PNG")
    assert "celery -A worker worker --pool threads" in text
    for picture in pages.glob("sleep-*.svg"):
        assert f"({picture.name})" in text


def test_five_lanes_for_a_pool_of_five(pages):
    text = (pages / "tour.html").read_text(encoding="utf-8")

    assert "pool of five" in text
    # A lane for each process: five here; five at once of the eight there, and so any of them.
    assert 10 <= len(set(re.findall(r">pid (\d+)<", text))) <= 13


def test_the_tour_comes_as_markdown_with_a_picture_of_each_row(stack, tmp_path):
    done = producer("tour", "--row", "S6", f"--report={tmp_path / 'tour.md'}")

    assert done.returncode == 0, done.stderr
    assert "![S6, local beside cluster](tour-S6.svg)" in (tmp_path / "tour.md").read_text()
    assert "<svg" in (tmp_path / "tour-S6.svg").read_text()


def test_watch_once_counts_what_the_workers_did(stack):
    assert producer("send", "sleep", "0", "--count", "5", "--wait").returncode == 0
    shown = json.loads(producer("watch", "--once", "--json").stdout)

    assert {row["pool"] for row in shown["pools"]} == {"prefork", "threads", "gevent"}
    assert len(shown["workers"]) == 3
    assert sum(worker["processed"] for worker in shown["workers"]) >= 5


def test_watch_without_a_terminal_to_draw_on_says_so(stack):
    done = producer("watch", "--json")

    assert done.returncode == 2
    assert "--json goes with --once" in done.stderr


def test_watch_ends_with_q_and_leaves_the_terminal_as_it_was(stack):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*PRODUCER, "watch"], stdin=theirs, stdout=theirs, env={**os.environ, "TERM": "xterm"}
    )
    shown = b""
    try:
        while b"threads@" not in shown:
            assert select.select([ours], [], [], 30)[0], shown
            shown += os.read(ours, 65536)
        os.write(ours, b"q")
        status = process.wait(patient(10))
    finally:
        process.kill()
        process.wait()

    assert status == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)

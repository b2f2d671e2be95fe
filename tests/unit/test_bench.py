"""The bench's own arithmetic: medians, ratios, who is ahead, the order of the sessions."""

import ast
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from bench import __main__ as bench_command
from bench import (
    arguments,
    chapters,
    charts,
    commands,
    growth,
    limits,
    maps,
    measures,
    replays,
    reports,
    rounds,
    running,
)
from bench.environments import SetUpFailed
from bench.figures import Results, Sample, summarise
from bench.measures import MEASURES, Measure
from bench.sessions import Failed
from bench.systems import OURS, SYSTEMS, Form
from shared.errors import BrokerUnavailable

RATE = next(measure for measure in MEASURES if measure.key == "enqueue")
LATENCY = next(measure for measure in MEASURES if measure.key == "call_p50")
ABOUT = {
    "command": "make bench",
    "date": "2026-01-01",
    "rounds": 3,
    "machine": {
        "cores": 2,
        "processor": "a processor",
        "system": "a system",
        "python": "3.13.0",
        "redis": "Redis v=8",
        "load": 0.5,
    },
    "versions": {"celery": {"celery": "5.7.0"}},
    "failures": ["celery, calls, round 1: its worker ended"],
}


def results(measure, **values):
    """One sample for each system, round and value; an underscore stands for a hyphen."""
    return Results(
        [
            Sample(name.replace("_", "-"), measure.key, number, value)
            for name, rounds in values.items()
            for number, value in enumerate(rounds)
            if value is not None
        ]
    )


def test_a_summary_is_the_median_with_its_extremes():
    summary = summarise([5.0, 1.0, 2.0])

    assert (summary.median, summary.least, summary.greatest, summary.count) == (2.0, 1.0, 5.0, 3)
    assert summary.spread == 1.0
    assert summarise([]) is None


def test_a_ratio_compares_within_each_round_and_not_across_them():
    # The machine was ten times slower in the second round, for both.
    found = results(RATE, day_six=[200.0, 20.0, 200.0], celery=[100.0, 10.0, 100.0])

    ratio = found.ratio(RATE, OURS, "celery")

    assert (ratio.least, ratio.median, ratio.greatest) == (2.0, 2.0, 2.0)


def test_where_less_is_better_the_smaller_one_is_ahead():
    found = results(LATENCY, day_six=[2.0], celery=[6.0])

    assert found.ratio(LATENCY, OURS, "celery").median == 3.0
    assert found.verdict(LATENCY, OURS, "celery") == "ours"


def test_a_round_that_lacks_one_of_the_two_does_not_count():
    found = results(RATE, day_six=[100.0, None, 300.0], celery=[100.0, 100.0, None])

    assert found.ratio(RATE, OURS, "celery").count == 1


def test_nothing_is_compared_with_zero():
    found = results(LATENCY, day_six=[1.0], celery=[0.0])

    assert found.ratio(LATENCY, OURS, "celery") is None
    assert found.verdict(LATENCY, OURS, "celery") == ""


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [([50.0, 90.0], "ours"), ([50.0, 110.0], "level"), ([110.0] * 2, "theirs")],
)
def test_somebody_is_ahead_only_where_all_rounds_agree(theirs, verdict):
    found = results(RATE, day_six=[100.0, 100.0], celery=theirs)

    assert found.verdict(RATE, OURS, "celery") == verdict


def test_the_systems_follow_one_another_and_take_turns_at_being_first():
    order = list(rounds.order(["a", "b", "c"], 2, ["x", "y"]))

    assert [(part, name) for _, part, name in order] == [
        *(("x", name) for name in "abc"),
        *(("y", name) for name in "abc"),
        *(("x", name) for name in "bca"),
        *(("y", name) for name in "bca"),
    ]
    assert [number for number, _, _ in order] == [0] * 6 + [1] * 6


def test_the_tables_have_a_dash_where_a_system_has_no_figure():
    found = Results(
        [
            Sample(OURS, RATE.key, 0, 1234.0),
            Sample("celery", RATE.key, 0, 617.0),
            Sample(OURS, LATENCY.key, 0, 2.5),
        ]
    )

    assert reports.figures(found) == [
        ["", "unit", OURS, "celery"],
        [RATE.title, "tasks/s", "1,234", "617"],
        [LATENCY.title, "ms", "2.50", "–"],
    ]
    assert reports.ratios(found) == [["", "celery"], [RATE.title, "2.00"]]


def test_what_another_system_wins_is_said():
    found = Results(
        [
            *(Sample(OURS, RATE.key, number, 100.0) for number in range(2)),
            *(Sample("huey", RATE.key, number, 300.0) for number in range(2)),
            *(Sample(OURS, LATENCY.key, number, 1.0) for number in range(2)),
            *(Sample("huey", LATENCY.key, number, 0.5 + number) for number in range(2)),
        ]
    )

    assert reports.winners(found) == [
        f"- **huey**: {RATE.title}. Too close to tell: {LATENCY.title}."
    ]


def test_the_terminal_says_what_the_lines_about_the_others_are(capsys):
    found = results(RATE, day_six=[100.0], celery=[200.0])

    bench_command._print(found)

    said = capsys.readouterr().out
    assert "Who is ahead of day-six:\n- celery: " in said


def test_a_report_is_written_and_read_back(tmp_path):
    found = results(RATE, day_six=[100.0, 120.0, 110.0], celery=[50.0, 50.0, 60.0])

    reports.write(tmp_path, found, ABOUT)

    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert f"| {RATE.title} | tasks/s | 110 ±9 % | 50.0 ±10 % |" in text
    assert f"| {RATE.title} | **2.00** (1.83–2.40) |" in text
    assert SYSTEMS["celery"].durability in text
    assert ABOUT["failures"][0] in text
    again, about = reports.read(tmp_path / "bench.json")
    assert again.samples == found.samples
    assert about == ABOUT
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["rounds"] == 3


def test_a_report_of_another_checkout_is_read_back(tmp_path):
    reports.write(tmp_path, results(RATE, day_six=[100.0], celery=[50.0]), ABOUT)
    path = tmp_path / "bench.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"celery"', '"before"'))

    found, about = reports.read(path)

    assert found.systems == [OURS, "before"]
    assert "| before | nothing is lost" in reports.markdown(found, about)


@pytest.mark.parametrize(
    "text", ["# Speed", "{}", "[]", "1", '{"samples": [{}]}', '{"samples": []}']
)
def test_what_is_no_report_is_told(text, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text)

    with pytest.raises(reports.NoReport, match=r"other\.json is not a bench\.json"):
        reports.read(path)


def test_the_chart_is_well_formed_and_has_a_bar_for_each_ratio():
    found = results(RATE, day_six=[100.0, 120.0], celery=[50.0, 50.0], huey=[400.0, 500.0])

    chart = ET.fromstring(charts.ratios(found, OURS))

    labels = [element.text for element in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert {"celery", "huey", "2.2×", "0.2×"} <= set(labels)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=lambda system: system.name)
def test_each_system_has_its_functions_and_its_lock(system):
    bench = Path(measures.__file__).parent

    module = ast.parse((bench / "systems" / f"{system.module}.py").read_text(encoding="utf-8"))

    defined = {
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {"enqueue", "enqueue_bulk", "call", "gather", "left", "worker"} <= defined
    if system.environment:
        lock = (bench / "requirements" / f"{system.environment}.txt").read_text(encoding="utf-8")
        pinned = [line for line in lock.splitlines() if line[:1].isalpha()]
        assert pinned
        assert all("==" in line for line in pinned)
        assert lock.count("--hash=sha256:") >= len(pinned)


def test_every_measure_has_a_part_that_can_find_it():
    keys = {measure.key for measure in MEASURES}

    assert len(keys) == len(MEASURES)
    assert {f"drain_{form}" for form in Form} < keys
    assert set(charts.SHOWN) < keys
    assert set(limits.OF) < keys
    assert isinstance(RATE, Measure)


def test_a_long_part_has_fewer_rounds():
    order = list(rounds.order(["a"], 3, ["x", "y"], {"y": 1}))

    assert [part for _, part, _ in order] == ["x", "y", "x", "x"]


def run_parts(**parts):
    """What a run of these parts of one system finds, and what it says meanwhile."""
    said = io.StringIO()
    found = running.run(
        [(0, name, OURS) for name in parts],
        SYSTEMS,
        parts,
        measures.TINY,
        Console(file=said, width=200),
    )
    return found, said.getvalue()


def test_a_part_that_fails_is_a_line_and_the_others_go_on():
    def fails(system, scale):
        yield "enqueue", 5.0
        raise Failed("its worker ended")

    found, said = run_parts(fails=fails, works=lambda system, scale: iter([("gather", 7.0)]))

    assert [(sample.measure, sample.value) for sample in found.samples] == [
        ("enqueue", 5.0),
        ("gather", 7.0),
    ]
    assert found.failures == ["day-six, fails, round 1: its worker ended"]
    assert found.status == 1
    assert "fails  day-six  failed: its worker ended" in said


def test_a_part_that_fails_as_nobody_foresaw_is_a_line_with_the_error_s_name():
    def fails(system, scale):
        yield "enqueue", 5.0
        raise ConnectionError("Redis is gone")

    found, _ = run_parts(fails=fails)

    assert found.failures == ["day-six, fails, round 1: ConnectionError('Redis is gone')"]


def test_an_interrupted_run_keeps_what_it_has_and_says_where_it_was():
    def interrupted(system, scale):
        yield "enqueue", 5.0
        raise KeyboardInterrupt

    found, said = run_parts(
        interrupted=interrupted, never=lambda system, scale: iter([("gather", 7.0)])
    )

    assert [sample.measure for sample in found.samples] == ["enqueue"]
    assert found.failures == ["interrupted in round 1, at interrupted of day-six"]
    assert said.splitlines()[-1] == "interrupted; what was measured so far:"
    assert found.status == 130


def test_an_interrupted_run_that_has_nothing_is_no_report():
    def interrupted(system, scale):
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        run_parts(interrupted=interrupted)


def test_a_run_that_failed_from_end_to_end_is_no_report():
    def fails(system, scale):
        raise Failed("its worker ended")
        yield

    with pytest.raises(running.NothingMeasured):
        run_parts(fails=fails)


def grown(system, length, **values):
    return [
        Sample(system, growth.measure(kind, length).key, 0, value) for kind, value in values.items()
    ]


def interrupt():
    raise KeyboardInterrupt


def unanswered():
    raise BrokerUnavailable("localhost", "gone")


def refuse():
    raise SetUpFailed("celery cannot be installed: no network")


@pytest.mark.parametrize(
    ("main", "status", "said"),
    [
        (lambda: 0, 0, ""),
        (interrupt, 130, "bench: interrupted before there was anything to report\n"),
        (
            unanswered,
            1,
            f"bench: {BrokerUnavailable('localhost', 'gone')}\n",
        ),
        (refuse, 1, "bench: celery cannot be installed: no network\n"),
    ],
)
def test_a_command_ends_with_a_line(main, status, said, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.end_with(main)

    assert ended.value.code == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--made"], "make bench"),
        (["--made", "--scale", "quick"], "make bench QUICK=1"),
        (["--made", "--rounds", "1"], "python -m bench --rounds 1"),
        (["--parts", "drain threads"], "python -m bench --parts 'drain threads'"),
    ],
)
def test_the_report_says_with_which_command_it_was_made(given, said):
    assert bench_command._command(given) == said


def test_what_is_named_twice_is_measured_once():
    assert arguments.some(["celery", "huey", "rq"])("rq, celery,rq") == ["rq", "celery"]


def test_a_folder_that_cannot_be_written_into_is_refused_at_once(tmp_path):
    commands.prepare(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []

    # Nobody may write there, root included, though it exists.
    with pytest.raises(OSError, match=r"^/proc/self/fd cannot be written into: "):
        commands.prepare(Path("/proc/self/fd"))


GROWN = Results(
    [
        *grown(
            OURS, 1_000, enqueue=30_000.0, client=57.0, queued=1_200.0, drain=3_000.0, worker=64.0
        ),
        *grown(
            OURS, 10_000, enqueue=27_000.0, client=57.0, queued=1_200.0, drain=1_500.0, worker=64.0
        ),
        *grown(
            OURS, 100_000, enqueue=30_000.0, client=58.0, queued=1_200.0, drain=3_000.0, worker=64.0
        ),
        Sample(OURS, growth.measure("enqueue", 1_000, sent=True).key, 0, 25_000.0),
        *grown("huey", 1_000, enqueue=10.0, client=38.0, queued=130.0, drain=4_000.0, worker=28.0),
        *grown("huey", 10_000, enqueue=10.0, client=46.0, queued=130.0, drain=4_000.0, worker=28.0),
    ]
)


def test_growth_has_a_row_for_each_length_and_for_the_command_that_sends():
    rows = chapters.growing(GROWN)

    assert rows[1] == [OURS, "1,000", "30,000", "57.0", "1,200", "3,000", "64.0"]
    assert [row[:3] for row in rows[4:6]] == [
        [f"{OURS}, `producer send --count`", "1,000", "25,000"],
        ["huey", "1,000", "10.0"],
    ]


def test_steadiness_is_the_longest_queue_beside_the_shortest_of_each():
    rows = chapters.steadiness(GROWN)

    assert rows[1] == [OURS, "100,000 / 1,000", "1.00", "1.02", "1.00", "1.00", "1.00"]
    assert rows[2][:4] == ["huey", "10,000 / 1,000", "1.00", "1.21"]


def test_who_is_ahead_with_a_long_queue_is_told_of_the_longest_that_both_had():
    assert "drain, 10 threads, 10,000 queued" in reports.winners(GROWN)[0]
    assert "100,000" not in reports.winners(GROWN)[0]


def test_others_are_spared_the_longest_queue_and_ours_is_not(monkeypatch):
    filled = []
    monkeypatch.setattr(growth, "_sent", lambda length, system: iter(()))
    monkeypatch.setattr(
        growth,
        "_at",
        lambda length, system, scale: filled.append((system.name, length)) or iter(()),
    )

    for name in (OURS, "huey"):
        list(growth.growth(SYSTEMS[name], measures.FULL))

    assert (OURS, 1_000_000) in filled
    assert max(length for name, length in filled if name == "huey") == 100_000


def test_a_queue_that_was_drained_to_the_end_is_a_line():
    found = Results([Sample(OURS, key, 0, float(at + 1)) for at, key in enumerate(growth.WHOLE)])

    (line,) = chapters.whole(found)
    assert line == (
        "day-six drained all 1,000,000: 1.00 tasks/s in the second tenth, 2.00 in the slowest, "
        "3.00 in the last; the worker had 4.00 MB after the first tenth and 5.00 MB at the end."
    )
    assert chapters.whole(GROWN) == []


BESIDE = [
    Sample(OURS, "enqueue", 0, 5_000.0),
    Sample(OURS, limits.measure(limits.ONE_BY_ONE, "enqueue").key, 0, 50_000.0),
    Sample(OURS, limits.measure(limits.TOGETHER, "enqueue").key, 0, 250_000.0),
]


def test_what_part_of_redis_own_pace_is_reached():
    rows = chapters.beside_redis(Results(BESIDE))

    assert rows[1:] == [[RATE.title, "5,000", "50,000", "10 %", "250,000", "2 %"]]


def test_the_part_that_is_reached_is_a_line_where_it_was_measured():
    assert chapters.reached(Results(BESIDE)) == [
        f"Of the pace at which Redis answers the same commands, one by one: {RATE.title}: 10 %."
    ]
    assert chapters.reached(Results(BESIDE[:1])) == []


def test_the_benchmark_of_redis_stands_beside_it_where_there_is_one():
    found = Results([*BESIDE, Sample(OURS, limits.BENCHMARK_ONE_BY_ONE, 0, 40_000.0)])

    rows = chapters.beside_redis(found)

    assert rows[1][-2:] == ["LPUSH, one by one: 40,000", "12 %"]


def test_a_map_of_the_standard_library_stands_beside_ours():
    local = maps.measure("default").key
    found = Results([Sample(OURS, local, number, 0.2) for number in range(2)])

    assert chapters.beside_multiprocessing(found)[1:] == [
        ["`multiprocessing.Pool(2)`, default chunks", "**0.20** (0.20–0.20)"]
    ]
    assert reports.markdown(found, ABOUT).count("## Beside `multiprocessing`") == 1
    assert "multiprocessing" not in reports.markdown(Results(BESIDE), ABOUT)


def test_a_line_of_monitor_is_a_command_and_what_a_script_does_is_none():
    line = rb'+1764177000.1 [0 127.0.0.1:5000] "LPUSH" "queue" "a \"b\" \\ \x00\n"'

    assert replays.parse(line) == (b"127.0.0.1:5000", [b"LPUSH", b"queue", b'a "b" \\ \x00\n'])
    assert replays.parse(b'+1764177000.1 [0 lua] "rpop" "queue"') is None
    assert replays.parse(b"+OK") is None


def test_commands_are_sent_in_round_trips_of_a_number_and_of_no_more_than_a_size():
    packed = [b"x"] * 5 + [b"y" * replays._CHUNK_BYTES, b"z" * 2]

    chunks = replays._chunks(packed, 3)

    assert [count for _, count in chunks] == [3, 3, 1]
    assert b"".join(data for data, _ in chunks) == b"".join(packed)
    assert [count for _, count in replays._chunks(packed[5:] * 2, 100)] == [2, 2]

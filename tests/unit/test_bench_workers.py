"""Where throughput ends with more workers, judged from made-up processor times."""

import pytest

from bench import places, scaling, workers
from bench.figures import Results, Sample
from bench.sessions import Failed
from bench.systems import OURS

NOTHING = scaling.LOADS["nothing"]


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"workers_cores": 3.0, "redis": 0.95, "others": 0.0}, "Redis"),
        ({"workers_cores": 3.2, "redis": 0.3, "others": 0.0}, "the machine's 4 cores"),
        (
            {"workers_cores": 2.2, "redis": 0.3, "others": 1.0},
            "the machine's 4 cores, 1.0 of them taken by others",
        ),
        ({"workers_cores": 1.9, "redis": 0.1, "others": 0.0}, "the core that a worker"),
        ({"workers_cores": 0.4, "redis": 0.1, "others": 0.0}, "the number of workers"),
    ],
)
def test_the_limit_is_what_is_used_up(used, said):
    assert scaling.limit(workers=2, times_one=1.5, cores=4, **used).startswith(said)


def test_where_two_workers_do_twice_as_much_nothing_else_is_the_limit():
    used = {"workers_cores": 0.4, "redis": 0.1, "others": 3.5, "cores": 4}

    assert scaling.limit(workers=2, times_one=1.9, **used).startswith("the number of workers")
    assert scaling.limit(workers=2, times_one=1.6, **used).startswith("the machine's 4 cores")


def figures(size, **values):
    return [
        Sample(OURS, scaling.key(kind, NOTHING, size), 0, value) for kind, value in values.items()
    ]


def test_each_number_of_workers_is_compared_with_one():
    found = Results(
        [
            *figures(1, rate=3_000.0, workers=0.9, redis=0.1, others=0.0, memory=64.0),
            *figures(2, rate=5_400.0, workers=1.75, redis=0.15, others=0.0, memory=128.0),
            *figures(4, rate=5_500.0),
        ]
    )

    rows = scaling.rows(found, OURS, 2)

    assert [row[1:4] for row in rows[1:]] == [["1", "3,000", "1.00"], ["2", "5,400", "1.80"]]
    assert rows[2][4:-1] == ["1.75", "0.15", "0.00", "128"]
    assert rows[2][-1] == "the number of workers: it grows with them"


class Fake:
    """A place whose tasks run when somebody waits for them, or at once."""

    def __init__(self, *, at_once=False):
        self.at_once = at_once
        self.queued = self.ran = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended = True

    def start(self, workers):
        self.workers = workers

    def fill(self, load, count):
        self.queued += count
        if self.at_once:
            self.ran = self.queued

    def wait_until_ran(self, count):
        assert count <= self.queued
        self.ran = count
        return scaling.time.monotonic()

    def cpu_s(self):
        return self.ran * 0.001, self.ran * 0.0001

    def memory_bytes(self):
        return 64_000_000


def test_the_clock_runs_from_a_full_queue_until_everything_has_run():
    place = Fake()

    found = dict(scaling.measured(place, NOTHING, 2, 0.01))

    assert place.workers == 2
    assert place.queued == place.ran == 2 * 20 + 200
    assert place.ended
    assert set(found) == {scaling.key(kind, NOTHING, 2) for kind in scaling.KINDS}
    ratio = found[scaling.key("workers", NOTHING, 2)] / found[scaling.key("redis", NOTHING, 2)]
    assert ratio == pytest.approx(10)


def test_tasks_that_all_ran_before_the_clock_started_are_no_measurement():
    with pytest.raises(Failed, match="before the measurement began"):
        list(scaling.measured(Fake(at_once=True), NOTHING, 1, 0.01))


def test_a_container_s_processor_time_is_read_as_its_kernel_has_it():
    assert places.parse_cpu("usage_usec 2500000\nuser_usec 1\n") == 2.5
    assert places.parse_cpu("2500000000\n") == 2.5


def test_each_task_and_number_of_workers_is_a_part():
    found = workers.parts(["nothing", "10ms"], [1, 8], 1.0, None)

    assert list(found) == [
        "does nothing, 1 worker",
        "does nothing, 8 workers",
        "waits 10 ms, 1 worker",
        "waits 10 ms, 8 workers",
    ]


def test_the_report_says_where_the_workers_were():
    about = {
        "command": "python -m bench.workers",
        "date": "2026-01-01",
        "rounds": 2,
        "where": "a container",
        "machine": dict.fromkeys(["processor", "system", "python", "redis"], "x")
        | {"load": 0.5, "cores": 2},
        "failures": ["interrupted in round 1, at does nothing, 2 workers of day-six"],
    }
    found = figures(1, rate=3_000.0, workers=0.9, redis=0.1, others=0.0, memory=64.0)

    text = workers.report(Results(found), about)

    assert "Each worker is a container with 10 threads" in text
    assert "| does nothing | 1 | 3,000 | 1.00 | 0.90 |" in text
    assert about["failures"][0] in text

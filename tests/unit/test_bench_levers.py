"""The table of levers, from made-up samples; and that what a variant switches is there."""

import pytest
from celery import concurrency

from bench import levers, variants
from bench.figures import Results, Sample
from bench.measures import MEASURES
from bench.rounds import PARTS
from bench.systems import OURS, SYSTEMS
from shared.broker import ownership, transport
from shared.calls import outbox
from shared.pools import PoolKind

KEPT = levers.Lever("push-singly", "many at once", "publish", ("enqueue",), kept=True, why="pays")
REJECTED = levers.Lever(
    "prefetch-10",
    "hold more",
    "drain threads",
    ("enqueue",),
    kept=False,
    why="unfair",
    variant_has_it=True,
)


def samples(lever, *, with_it, without_it):
    return [
        Sample(f"{lever.variant}, {lever.part}, {side}", "enqueue", number, value)
        for side, values in (("with", with_it), ("without", without_it))
        for number, value in enumerate(values)
    ]


def test_a_lever_s_ratio_is_with_it_by_without_it_whether_it_was_kept_or_not():
    found = Results(
        [
            *samples(KEPT, with_it=[300.0, 30.0], without_it=[100.0, 10.0]),
            *samples(REJECTED, with_it=[90.0, 9.0], without_it=[100.0, 10.0]),
        ]
    )

    rows = levers.rows(found, (KEPT, REJECTED))

    assert rows[1][-5:] == ["55.0 ±82 %", "165 ±82 %", "**3.00** (3.00–3.00)", "yes", "pays"]
    assert rows[2][-3:] == ["**0.90** (0.90–0.90)", "no", "unfair"]


def test_a_lever_that_was_not_measured_has_no_row():
    rows = levers.rows(Results(samples(KEPT, with_it=[2.0], without_it=[1.0])), (KEPT, REJECTED))

    assert [row[0] for row in rows[1:]] == ["many at once"]


def test_the_variant_is_ours_without_a_lever_that_was_kept_and_with_one_that_was_not():
    found = levers.systems((KEPT, REJECTED))

    variants_of = {name: system.variant for name, system in found.items()}

    assert variants_of == {
        "push-singly, publish, with": "",
        "push-singly, publish, without": "push-singly",
        "prefetch-10, drain threads, with": "prefetch-10",
        "prefetch-10, drain threads, without": "",
    }
    assert all(system.module == SYSTEMS[OURS].module for system in found.values())


def test_with_and_without_follow_each_other_and_take_turns_at_being_first():
    order = [name.rpartition(" ")[2] for _, _, name in levers.order((KEPT, REJECTED), 2)]

    assert order == ["with", "without"] * 2 + ["without", "with"] * 2


@pytest.mark.parametrize("lever", levers.LEVERS, ids=lambda lever: f"{lever.variant} {lever.part}")
def test_each_lever_has_a_variant_a_part_and_figures(lever):
    known = {*variants.SWITCHES, *variants.OPTIONS, "push-singly", "kombus-batch"}
    known |= {"python-parser", "listened"}

    assert lever.variant in known
    assert lever.part in {*PARTS, "publish"}
    assert set(lever.measures) <= {measure.key for measure in MEASURES}


def test_every_lever_in_the_report_s_table_has_its_reason():
    about = {
        "command": "python -m bench.levers",
        "date": "2026-01-01",
        "rounds": 2,
        "machine": dict.fromkeys(["cores", "processor", "system", "python", "redis"], "x")
        | {"load": 0.5},
        "failures": ["push-singly, publish, with, round 1: its client ended"],
    }
    lever = next(lever for lever in levers.LEVERS if lever.variant == "push-singly")
    made_up = [
        Sample(f"{lever.variant}, {lever.part}, {side}", "enqueue_bulk", 0, 1.0)
        for side in ("with", "without")
    ]

    text = levers.report(Results(made_up), about)

    assert (
        f"| {lever.title} | enqueue, in bulk, tasks/s | 1.00 | 1.00 | 1.00 | yes | {lever.why} |"
        in text
    )
    assert about["failures"][0] in text


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (transport.QoS, "can_consume_max_estimate"),
        (transport.Channel, "_how_many"),
        (ownership.Owner, "settle"),
        (ownership, "parse_tag"),
        (outbox, "answer"),
    ],
)
def test_what_a_variant_puts_something_else_in_place_of_exists(owner, name):
    assert callable(getattr(owner, name))


def test_the_threads_pool_that_a_variant_puts_back_was_replaced():
    from worker import celery as _  # noqa: F401 - it says what the pools are

    assert concurrency.ALIASES[PoolKind.THREADS] == "worker.pools.threads:TaskPool"

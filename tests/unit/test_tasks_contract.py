"""The ready-made tasks, and what producers know of them."""

import inspect

import pytest

from shared import tasks
from shared.app import app
from shared.pools import PoolKind

CONTRACTS = tasks.CONTRACTS.values()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_each_ready_made_task_is_registered_under_its_functions_name(contract):
    task = getattr(tasks, contract.name)

    assert inspect.signature(task.run) == contract.signature
    assert app.tasks[contract.name].run is task.run


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_each_contract_says_where_it_runs_and_what_it_gives(contract):
    assert contract.queue in list(PoolKind)
    assert app.amqp.router.route({}, contract.name)["queue"].name == contract.queue
    assert contract.help
    assert contract.signature.return_annotation is not inspect.Signature.empty
    assert all(
        parameter.annotation is not parameter.empty
        for parameter in contract.signature.parameters.values()
    )


def test_there_is_no_ready_made_task_that_producers_do_not_know():
    known = {name for name, task in app.tasks.items() if task.__module__ == tasks.__name__}

    assert known == set(tasks.CONTRACTS)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_the_message_of_a_killed_child_goes_back_to_its_queue(contract):
    task = app.tasks[contract.name]

    assert task.acks_late
    assert task.reject_on_worker_lost
    assert not task.retry_on_worker_lost


@pytest.mark.parametrize(
    ("count", "found"), [(0, 0), (2, 0), (3, 1), (10, 4), (100, 25), (1000, 168)]
)
def test_primes_counts_the_primes_below_a_number(count, found):
    assert tasks.primes.run(count) == found


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000.evil/slow",
        "http://127.0.0.1:8000@evil/slow",
        "http://127.0.0.1:80001/slow",
        "https://127.0.0.1:8000/slow",
        "http://127.0.0.1:8000/",
        "http://127.0.0.1:8000/slow/../secret",
        "http://good/api/../secret",
        "file:///etc/passwd",
        "",
    ],
)
def test_fetch_refuses_every_url_that_only_looks_allowed(monkeypatch, url):
    monkeypatch.setenv("FETCH_ALLOW", "http://good/api, http://other/")
    tasks.current.cache_clear()

    with pytest.raises(PermissionError, match="FETCH_ALLOW"):
        tasks.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/slow",
        "http://127.0.0.1:8000/slow?delay_s=1",
        "http://good/api",
        "http://good/api/more?x=1",
        "http://other/anything",
    ],
)
def test_fetch_takes_what_the_settings_allow(monkeypatch, url):
    monkeypatch.setenv("FETCH_ALLOW", "http://good/api, http://other/")
    tasks.current.cache_clear()

    tasks.check_url(url)

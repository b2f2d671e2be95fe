"""Celery's and kombu's own tests pass on our transport where they pass on kombu's."""

import pytest

from tests.suites.exclusions import EXCLUDED
from tests.suites.running import SHORT, outcomes, worse
from tests.suites.sources import Unavailable, folder
from tests.support import unavailable


@pytest.fixture(params=SHORT, ids=lambda part: part.package)
def part(request):
    try:
        folder(request.param.package)
    except Unavailable as error:
        unavailable(str(error))
    return request.param


def test_what_passes_on_redis_passes_here(part):
    ours, said = outcomes(part, "ours")
    passed = [test for test, outcome in ours.items() if outcome == "passed"]
    failed = {test: "passed" for test, outcome in ours.items() if outcome == "failed"}

    # Whether stock passes those is asked only where ours does not.
    stock = outcomes(part, "stock")[0] if failed else {}

    assert len(passed) >= 5, said[-2000:]
    assert worse(part.package, {test: stock.get(test) for test in failed}, ours) == []


@pytest.mark.parametrize("name", EXCLUDED)
def test_each_exclusion_names_a_test_that_is_there(name):
    package, _, test = name.partition("/")
    path, *rest = test.split("::")
    try:
        text = (folder(package) / path).read_text(encoding="utf-8")
    except Unavailable as error:
        unavailable(str(error))

    assert all(part.partition("[")[0] in text for part in rest)

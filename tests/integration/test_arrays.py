"""Arrays on real workers: as arguments, results and initializers' arguments, of any size."""

import pytest

from shared.multiprocessing import Pool
from shared.pools import PoolKind
from tests.integration.library_work import remember, remembered, total

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.usefixtures("stack")


@pytest.mark.parametrize("kind", list(PoolKind))
def test_an_array_larger_than_a_message_goes_there_and_back(kind):
    value = np.arange(3_000_000.0)  # 24 MB

    with Pool(2, kind=kind) as pool:
        negative = pool.apply(np.negative, [value])
        totals = pool.map(total, [value] * 4, chunksize=1)

    assert (negative == -value).all()
    assert negative.flags.writeable
    assert totals == [float(value.sum())] * 4


def test_an_initializer_gets_a_large_array_in_each_process():
    value = np.ones(3_000_000)

    with Pool(2, remember, (value,)) as pool:
        del value
        assert pool.map(remembered, range(6), chunksize=1) == [3_000_000.0] * 6

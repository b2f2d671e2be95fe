"""Results that are awaited, without workers."""

import asyncio

import pytest

from shared.calls.outcomes import Outcome
from shared.multiprocessing.awaitables import AsyncResult


def test_who_gave_up_and_closed_its_loop_keeps_nobody_else_waiting():
    result = AsyncResult(None, None, None)

    async def wait():
        return await result

    async def give_up():
        await asyncio.wait_for(wait(), 0.01)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(give_up())

    async def wait_on():
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        result._set(Outcome(True, 7))
        return await asyncio.wait_for(waiting, 5)

    assert asyncio.run(wait_on()) == 7

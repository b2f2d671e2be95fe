"""What all tests share: no setting of the caller's environment reaches them."""

import os

import pytest

from shared.settings import Settings

for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)


def unavailable(reason):
    """Skip on a laptop, fail where everything has to be there."""
    if os.environ.get("CI") or os.environ.get("REQUIRE_DOCKER"):
        pytest.fail(reason)
    pytest.skip(reason)

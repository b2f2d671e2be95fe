"""What all tests share: no setting of the caller's environment reaches them."""

import os

import pytest

from shared import results, settings, store
from shared.app import app, configuration
from shared.settings import Settings

for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)


def unavailable(reason):
    """Skip on a laptop, fail where everything has to be there."""
    if os.environ.get("CI") or os.environ.get("REQUIRE_DOCKER"):
        pytest.fail(reason)
    pytest.skip(reason)


def forget_settings():
    """Have what this process opened so far, which saw another Redis, be opened anew."""
    settings.current.cache_clear()
    store.store.cache_clear()
    opened = results._inboxes.pop(os.getpid(), None)
    if opened is not None:
        opened.close()
    app.conf.update(configuration())
    app._after_fork()
    app.control._after_fork()

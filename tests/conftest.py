"""What all tests share: no setting of the caller's environment reaches them."""

import os
import shutil
import signal
import sys

import hypothesis
import pytest

from shared import settings
from shared.app import app, configuration
from shared.broker import connections
from shared.calls import inbox
from shared.settings import Settings
from tests.support import unavailable

for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)


# What decides is how many examples, not how busy the machine is.
for profile, examples in (("dev", 20), ("ci", 100), ("fuzz", 2_000)):
    hypothesis.settings.register_profile(profile, deadline=None, max_examples=examples)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev")
)

# Started in the background of a shell, all of this would ignore the Ctrl-C that tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


def forget_settings():
    """Have what this process opened so far, which saw another Redis, be opened anew."""
    settings.current.cache_clear()
    connections.store.cache_clear()
    opened = inbox._inboxes.pop(os.getpid(), None)
    if opened is not None:
        opened.close()
    app.conf.update(configuration())
    app._after_fork()
    app.control._after_fork()


@pytest.fixture(scope="session")
def chromium():
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        unavailable(f"none of {', '.join(names)} is on the PATH")
    with playwright.sync_playwright() as player:
        # Chromium's own sandbox needs a user that is not root.
        root = sys.platform != "win32" and os.geteuid() == 0
        browser = player.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if root else []
        )
        yield browser
        browser.close()

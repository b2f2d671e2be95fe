"""What all tests share: no setting of the caller's environment reaches them."""

import os
import re
import shutil
import signal
import sys
from collections import Counter

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from shared import settings
from shared.app import app, configuration
from shared.broker import connections
from shared.calls import inbox
from shared.settings import Settings
from tests.support import unavailable

for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)
# Tests start hundreds of processes. Without this, each of them compiles every module again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What decides is how many examples, not how busy the machine is.
for profile, examples in (("dev", 20), ("ci", 100), ("fuzz", 2_000)):
    hypothesis.settings.register_profile(profile, deadline=None, max_examples=examples)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev")
)

# Started in the background of a shell, all of this would ignore the Ctrl-C that tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers():
    """Side by side with ``-n auto``: one for each core; more would only wait for each other."""
    return os.cpu_count() or 1


class Scheduler(LoadScopeScheduling):
    """Hands out files, as each starts its servers once; containers and Flower share one process."""

    def _split_scope(self, nodeid):
        return next((part for part in TOGETHER if nodeid.startswith(part)), nodeid.split("::")[0])


# These use the same names and ports on this machine.
TOGETHER = ("tests/stack/",)


def pytest_xdist_make_scheduler(config, log):
    return Scheduler(config, log)


# An address, a random id: what differs from one process that collects the tests to the next.
_BY_PROCESS = re.compile(r" at 0x[0-9a-f]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Give each test the same id in every process: xdist hands the tests out by their ids."""
    seen = Counter()
    for item in items:
        name = _BY_PROCESS.sub("…", item.nodeid)
        if name != item.nodeid:
            seen[name] += 1
            item._id = item.id.parse(f"{name}{seen[name]}")


def pytest_sessionstart(session):
    """Keep xdist's pipe out of forked children: one that outlives its test would hold it open.

    The other end waits until the pipe is closed by everybody, also for a process that has died.
    """
    if not hasattr(session.config, "workerinput"):
        return
    # By its name: execnet sends its class as text.
    plugins = session.config.pluginmanager.get_plugins()
    (worker,) = (one for one in plugins if type(one).__name__ == "WorkerInteractor")
    io = worker.channel.gateway._io
    ends = [io.infile.fileno(), io.outfile.fileno()]
    nothing = os.open(os.devnull, os.O_RDWR)

    def close_in_child():
        for end in ends:
            os.dup2(nothing, end)

    os.register_at_fork(after_in_child=close_in_child)


def configure():
    """Have the application follow the environment, also where it has a backend already."""
    app.conf.update(configuration())
    app._backend_cache = None
    app._local.__dict__.pop("backend", None)
    for task in app.tasks.values():
        task.__dict__.pop("_templates", None)  # messages that were prepared for another broker


def forget_settings():
    """Have what this process opened so far, which saw another Redis, be opened anew."""
    settings.current.cache_clear()
    connections.store.cache_clear()
    opened = inbox.inbox.existing()
    if opened is not None:
        opened.close()
        inbox.inbox.forget()
    configure()
    app._after_fork()
    app.control._after_fork()


@pytest.fixture(scope="module", autouse=True)
def own_settings():
    """No file of tests leaves the next one its settings, its Redis or its Celery application."""
    yield
    app.set_current()
    forget_settings()


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; while it is there, this thread has a running event loop."""
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

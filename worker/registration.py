"""Imports the modules of a user's own tasks at a worker's start, and publishes the tasks."""

import ast
import importlib
import importlib.util
import inspect
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import celery
from celery import bootsteps, signals
from celery._state import get_current_worker_task
from celery.utils.log import get_logger

from shared.app import app
from shared.broker import catalogue, presence
from shared.broker.connections import connect
from shared.calls import encoding
from shared.errors import DaySixError
from shared.settings import current
from shared.tasks import contracts
from shared.tasks.contracts import Contract

logger = get_logger(__name__)

RENEW_S = 15.0
# The limit for published plain functions. The others can still be called.
FUNCTIONS_PUBLISHED = 500
_MAKES_TASKS = {"task", "shared_task", "register_task"}
_MAY_MAKE_TASKS = re.compile(rb"task\b")
# Statements that run code during an import instead of defining something.
_DOES = (ast.For, ast.While, ast.With)
_FAILED_TO_IMPORT = (Exception, SystemExit)

# The seconds between two checks of a queue's consumers.
LOOK_AGAIN_S = 10.0
_looked_at: dict[str, float] = {}

# The modules of `TASK_MODULES` that this worker has imported at its start.
imported: list[ModuleType] = []


@signals.celeryd_after_setup.connect(weak=False)
def _set_up(instance: Any, **_: Any) -> None:
    queues = list(app.amqp.queues.consume_from)
    if queues:
        # If a task sends another task without a route, use a queue of this worker. In a queue
        # without a worker, the task would wait for ever.
        app.conf.task_default_queue = queues[0]
    # Only in a worker: with a receiver, `apply_async` takes Celery's own path, which is slow.
    signals.before_task_publish.connect(_warn_of_nobody, weak=False)
    import_all()


def _warn_of_nobody(sender: str, routing_key: str, **_: Any) -> None:
    """Log a warning if a task sends another to a queue that no living worker consumes."""
    if get_current_worker_task() is None or routing_key in app.amqp.queues.consume_from:
        return
    if time.monotonic() < _looked_at.get(routing_key, 0) + LOOK_AGAIN_S:
        return
    _looked_at[routing_key] = time.monotonic()
    try:
        if not presence.consuming(routing_key):
            logger.warning("%s waits: no running worker consumes %r", sender, routing_key)
    except DaySixError as error:
        logger.debug("could not read the consumers of %r: %s", routing_key, error)


def import_all() -> None:
    """Import the modules of `TASK_MODULES`; log one line for a module that fails."""
    for name in current().allowed_modules:
        for found in _modules(name):
            module = _import(found)
            if module is not None and module not in imported:
                imported.append(module)
    # Celery copies the routes once. Set them again, because a module may have added some.
    app.conf.update(task_routes=app.conf.task_routes)


def _modules(name: str) -> Iterator[str]:
    """Yield the modules to import for a name of `TASK_MODULES`.

    These are the module of that name, and the modules of a package that define tasks. A script
    without tasks is left out, because an import would run it.
    """
    try:
        spec = importlib.util.find_spec(name)
    except _FAILED_TO_IMPORT as error:  # from the import of a parent package
        _warn(name, error)
        return
    if spec is None:
        logger.error("TASK_MODULES names %r, and there is no such module here", name)
        return
    file = Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    if file is None or not _is_script(file):
        yield name
    for folder in spec.submodule_search_locations or ():
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            if parts and all(map(str.isidentifier, parts)) and _makes_tasks(path):
                yield ".".join([name, *parts])


def _import(name: str) -> ModuleType | None:
    before = dict(app.tasks)
    try:
        module = importlib.import_module(name)
    except _FAILED_TO_IMPORT as error:
        _warn(name, error)
        return None
    finally:
        # A Celery application made by the module would become the current one.
        app.set_current()
        for task, registered in before.items():
            if app.tasks.get(task) is not registered:
                logger.error("%s: the name of its task %r is taken; give it another", name, task)
                app.tasks[task] = registered
    others = [
        key
        for key, value in vars(module).items()
        if isinstance(value, celery.Celery) and value is not app
    ]
    if others:
        logger.error(
            "%s: the tasks of its own Celery application %r are not found here; "
            "use celery.shared_task, or: from shared.app import app",
            name,
            others[0],
        )
    return module


def _warn(name: str, error: BaseException) -> None:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    logger.error("%s cannot be imported, its tasks are missing here: %s", name, reason)


def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _makes_tasks(path: Path) -> bool:
    """True if a file's code seems to define tasks; the code is not run.

    Also true for a file with a syntax error that may define tasks: its import logs the error.
    """
    try:
        if not _MAY_MAKE_TASKS.search(path.read_bytes()):
            return False
    except OSError:
        return False
    tree = _parse(path)
    return tree is None or _defines_tasks(tree)


def _defines_tasks(tree: ast.Module) -> bool:
    used = [
        *(node.func for node in ast.walk(tree) if isinstance(node, ast.Call)),
        *(
            decorator
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            for decorator in node.decorator_list
        ),
    ]
    return any(
        (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in _MAKES_TASKS
        for node in used
    )


def _is_script(path: Path) -> bool:
    """True if a file has no tasks, and an import would run it as a program."""
    tree = _parse(path)
    if tree is None or _defines_tasks(tree):
        return False
    return any(
        isinstance(node, _DOES)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
        or (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
        for node in tree.body
    )


def tasks() -> list[Contract]:
    """Return the tasks that this worker accepts."""
    own = (*encoding.NAMES, contracts.FUNCTION)
    return [
        contracts.of(task.run, name, _queue(task))
        for name, task in sorted(app.tasks.items())
        if not name.startswith("celery.") and name not in own
    ]


def _queue(task: Any) -> str | None:
    """Return the queue from a task's options or routes; None if neither names one."""
    queue = getattr(task, "queue", None)
    if queue is None:
        queue = (app.amqp.router.lookup_route(task.name) or {}).get("queue")
    return getattr(queue, "name", queue)


def functions() -> list[Contract]:
    """Return the plain functions of the imported modules."""
    found = [
        contracts.of(value, f"{module.__name__}:{name}", None)
        for module in imported
        for name, value in sorted(vars(module).items())
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]
    return found[:FUNCTIONS_PUBLISHED]


class Catalogue(bootsteps.StartStopStep):
    """Publishes the worker's tasks when it begins to consume, and withdraws them at its end."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.timer_entry: Any = None
        # The consumer's loop waits for this connection, so its timeout is short.
        self.redis = connect(current(), answer_within_s=2.0)

    def start(self, parent: Any) -> None:
        self.timer_entry = parent.timer.call_repeatedly(
            RENEW_S, parent.call_soon, (self.renew, parent), priority=10
        )
        self.renew(parent)

    def stop(self, parent: Any) -> None:
        if self.timer_entry is not None:
            self.timer_entry.cancel()
            self.timer_entry = None

    def shutdown(self, parent: Any) -> None:
        self.stop(parent)
        try:
            catalogue.withdraw(self.redis)
        except Exception as error:
            logger.warning("the worker's tasks stay published until their lease ends: %s", error)

    def renew(self, parent: Any) -> None:
        """Renew the published entry, or publish it again."""
        try:
            if not catalogue.renew(self.redis):
                catalogue.publish(self.redis, tasks(), functions())
        except Exception as error:
            # The consumer detects a lost broker itself.
            logger.warning("the worker's tasks are not published: %s", error)

"""The tasks that run library calls on a worker.

A call holds a chunk: one function and the arguments of several items. The outcomes go to the
caller's reply stream, and the message is acknowledged in the same step. A crash before that step
repeats the call.
"""

import asyncio
import contextlib
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

from celery import signals

from shared.app import app
from shared.broker import presence
from shared.broker.keys import REPLIES
from shared.calls import codec, context, exceptions, outbox, redirection, references
from shared.calls.cleaning import cleaner
from shared.calls.encoding import NAME, NAMES, PROCESS, Mode, span
from shared.calls.outcomes import Outcome, Outcomes, encode_outcomes
from shared.errors import TaskWithdrawn, WorkerLost

# The request's entry for the exception of a call that has run and that Celery is to report.
RAISED = "raised"


@app.task(
    name=NAME,
    bind=True,
    ignore_result=True,
    serializer="msgpack",
)
def call(task: Any, payload: bytes, reply_to: str, options: dict[str, Any] | None = None) -> Any:
    """Run one chunk and answer. The return value or exception is only for Flower and the log.

    Options: ``go_on`` after an error, with the chunk's other items; ``setup``, a pool's
    identity, initializer and its arguments; ``output``, how what is printed is shown;
    ``kinds``, the pools whose tasks wait for this one; ``process``, for a `Process`;
    ``script``, the module that ``producer run`` runs, ``run``, the id of this run of the script, and
    ``thread_pools``, whether its thread pools are sent to workers, ``argv``, its ``sys.argv`` as
    bytes; ``recycle``, a pool's identity and its ``maxtasksperchild``.
    """
    if isinstance(raised := task.request.get(RAISED), Exception):
        raise raised
    options = options or {}
    try:
        return _answer(task, payload, reply_to, options, _run)
    finally:
        if options.get("recycle"):
            context.count_run(*options["recycle"])


@app.task(
    name=PROCESS,
    bind=True,
    ignore_result=True,
    serializer="msgpack",
    # A killed process does not run again. Its caller sees the exit code.
    acks_late=False,
)
def process(task: Any, payload: bytes, reply_to: str, options: dict[str, Any]) -> Any:
    """Run one function as a `Process`: report its host and pid, then answer with its exit code."""
    started = {**context.whereabouts(), "worker": presence.PROCESS}
    outbox.announce(reply_to, task.request.id, codec.dumps(started))
    return _answer(task, payload, reply_to, options, _run_process)


def _answer(
    task: Any, payload: bytes, reply_to: str, options: dict[str, Any], run: Callable[..., Any]
) -> Any:
    ran = False
    try:
        with (
            context.running(task.request, reply_to, options) as running,
            cleaner.serving(options.get("run", ""), running.kind, options.get("argv", ())),
        ):
            outcomes, error = run(payload, options)
            ran = True
            outbox.answer(
                reply_to,
                task.request.id,
                encode_outcomes(outcomes),
                running.rest(),
                # A `Process` was acknowledged when it began, so there is no message to settle.
                delivery_tag=task.request.properties["delivery_tag"] if task.acks_late else "",
            )
    except Exception as unforeseen:
        if not ran:
            # The call's options are invalid. Its caller must still get an answer.
            _answer_error(task.request.id, (payload, reply_to), unforeseen)
        raise
    if error is not None:
        if isinstance(error, Exception) or _is_the_end(error):
            raise error
        # SystemExit and the like would end the worker. The caller has the real exception.
        raise exceptions.stand_in(type(error).__name__, str(error))
    values = outcomes.values
    return values[0] if len(values) == 1 else span(values, "values")


def _run(payload: bytes, options: dict[str, Any]) -> tuple[Outcomes, BaseException | None]:
    try:
        if options.get("script"):
            redirection.follow(options["script"], threads=options.get("thread_pools", False))
        _, function, module, mark, mode, items = codec.loads(payload)
        references.check_fingerprint(module, mark)
    except Exception as error:
        return Outcomes.of(Outcome(False, error)), error
    try:
        if options.get("setup"):
            context.set_up(*codec.loads(options["setup"]))
    except Exception as error:
        broken = Outcome(False, error, exceptions.describe(error), broken=True)
        return Outcomes.of(broken), error
    call, left = _spread(function, mode), iter(items)
    values: list[Any] = []
    failed: dict[int, Outcome] = {}
    began = time.perf_counter()
    while True:
        try:
            for item in left:
                value = call(item)
                if isinstance(value, types.CoroutineType):
                    value = wait_for(value)
                values.append(value)
            break
        except BaseException as error:
            if _is_the_end(error) and not options.get("process"):
                raise  # the worker is ending this call, and will report it
            redirection.explain(error)
            failed[len(values)] = Outcome(False, error, exceptions.describe(error))
            values.append(error)
            if not options.get("go_on"):
                break
    first = next(iter(failed.values()), None)
    outcomes = Outcomes(values, failed, time.perf_counter() - began)
    return outcomes, first.value if first else None


def _is_the_end(error: BaseException) -> bool:
    """True if the worker is ending the call from outside.

    gevent raises GreenletExit. billiard exits with the code -(256 - signal number).
    """
    if type(error).__name__ == "GreenletExit":
        return True
    code = error.code if isinstance(error, SystemExit) else None
    return isinstance(code, int) and -256 < code < -256 + signal.NSIG


def wait_for(coroutine: Any) -> Any:
    """Run a coroutine to its end and return its value."""
    patches = sys.modules.get("gevent.monkey")
    if patches is not None and patches.is_module_patched("threading"):
        # A thread can run only one event loop, and all greenlets share one thread. Borrow a thread
        # of gevent's pool for this loop.
        import gevent  # noqa: PLC0415 - only a gevent worker has it loaded

        return gevent.get_hub().threadpool.apply(asyncio.run, (coroutine,))
    return asyncio.run(coroutine)


def _run_process(payload: bytes, options: dict[str, Any]) -> tuple[Outcomes, BaseException | None]:
    """Run a `Process`. Its exit code and printed errors are those of the standard library."""
    # The process may replace sys.stdout and sys.stderr. The next task must get the original ones.
    streams = sys.stdout, sys.stderr
    try:
        outcomes, error = _run(payload, options)
        if context.alone():
            _join_threads()
        return _exit_code(outcomes, error, options)
    finally:
        for stream in {sys.stdout, sys.stderr}:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        sys.stdout, sys.stderr = streams


def _join_threads() -> None:
    """Wait for the threads that a process has started, except daemonic ones."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()


def _exit_code(
    outcomes: Outcomes, error: BaseException | None, options: dict[str, Any]
) -> tuple[Outcomes, BaseException | None]:
    if error is None:
        return Outcomes([0]), None
    code = 1
    if type(error).__name__ == "GreenletExit":
        code = -signal.SIGTERM
    elif isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code == 1 and error.code != 1:
            print(error.code, file=sys.stderr)
        if _is_the_end(error):
            code = -256 - code
    else:
        trace = outcomes[-1].traceback or exceptions.describe(error)
        print(f"Process {options['process']['name']}:\n{trace}", end="", file=sys.stderr)
    return Outcomes([code]), error if code else None


def _spread(function: Callable[..., Any], mode: str) -> Callable[[Any], Any]:
    """A function of one item that calls `function` with the arguments that the mode defines."""
    if mode == Mode.MAP:
        return function
    if mode == Mode.STARMAP:
        return lambda item: function(*item)
    return lambda item: function(*item[0], **item[1])


@signals.task_failure.connect(weak=False)
def _report_lost(sender: Any, task_id: str, exception: Any, args: Any, **_: Any) -> None:
    """Tell the caller of a call whose process died or exceeded its time limit.

    The task itself has answered errors of the function. A caller ignores a second answer.
    """
    if sender.name in NAMES and type(exception).__module__ == "billiard.exceptions":
        _answer_error(task_id, args, WorkerLost(_function(sender.request), str(exception)))


@signals.task_revoked.connect(weak=False)
def _report_revoked(
    sender: Any, request: Any, terminated: bool, signum: Any, expired: bool, **_: Any
) -> None:
    if sender.name in NAMES:
        if expired:
            reason = "it expired"
        elif terminated:
            reason = f"ended by {signal.Signals(int(signum)).name}"
        else:
            reason = "cancelled"
        _answer_error(request.id, request.args, TaskWithdrawn(_function(request), reason))


def _answer_error(task_id: str, args: Any, error: Exception) -> None:
    outbox.answer(args[1], task_id, encode_outcomes(Outcomes.of(Outcome(False, error))))


def report_dead(message: dict[str, Any], error: Exception) -> bool:
    """Tell the caller that a call became a dead letter. Returns False if it is no library call.

    The reply stream is read from the message's properties, because the body may be damaged.
    """
    reply_to = message["properties"].get("reply_to") or ""
    if not reply_to.startswith(REPLIES):
        return False
    payload = encode_outcomes(Outcomes.of(Outcome(False, error)))
    outbox.answer(reply_to, message["headers"]["id"], payload)
    return True


def _function(request: Any) -> str:
    return str(request.shadow or "the function")

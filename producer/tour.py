"""The tutorial's rows, each as it runs locally and on the cluster, side by side.

A row is a script of `examples/`: plain Python runs it locally, ``producer run`` on the
cluster, and the same check reads what both print.
"""

import ast
import asyncio
import contextlib
import itertools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import examples
from producer.arguments import WrongUsage
from shared.errors import DaySixError
from shared.pools import PoolKind

FOLDER = Path(examples.__file__).parent
TIMEOUT_S = 120.0
_INTERRUPTED_WITHIN_S = 2.0
_ENDLESS_VALUES = 4
# The scripts that run now: in sessions of their own, the terminal's Ctrl-C does not reach them.
_running: "set[subprocess.Popen[str]]" = set()


@dataclass(frozen=True)
class Side:
    """One run of a row: how long it took, which processes did it, what went wrong."""

    seconds: float
    pids: int = 0
    problem: str = ""
    found: str = ""
    lines: list[tuple[float, str]] = field(default_factory=list)  # with their moments


@dataclass(frozen=True)
class Row:
    """A row of the tutorial."""

    name: str
    shows: str
    lesson: str
    script: str
    check: Callable[[str, float], Side]
    cluster: Callable[[], Side] | None = None  # where the script alone does not show it
    endless: bool = False
    alone: bool = False  # measures the processor: the two sides must not run together


@dataclass(frozen=True)
class Report:
    """The outcome of a row."""

    row: str
    shows: str
    lesson: str
    local_s: float
    cluster_s: float
    pids: int
    ok: bool
    found: str = ""
    problem: str = ""
    local: list[tuple[float, str]] = field(default_factory=list)
    cluster: list[tuple[float, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what the sides printed is for the report alone."""
        return {
            key: value for key, value in asdict(self).items() if key not in ("local", "cluster")
        }


def choose(names: list[str]) -> list[Row]:
    """The rows of these names, all for none; `WrongUsage` for a name that is none."""
    known = {row.name: row for row in ROWS}
    for name in names:
        if name.upper() not in known:
            raise WrongUsage(f"there is no row {name!r}: there are {', '.join(known)}")
    return [known[name.upper()] for name in names] or ROWS


def run(row: Row, *, timed: bool = False) -> Report:
    """Run a row on both sides; a side that fails is reported, not raised.

    Timed, what they print is noted with its moment.
    """
    script = _run_on_terminal if timed else _run_script
    on_cluster = row.cluster or (lambda: script(row, ["-m", "producer", "run", "--threads"]))
    sides: list[Callable[[], Side]] = [lambda: script(row, []), on_cluster]
    try:
        # What only waits runs side by side; what computes has the machine to itself.
        # Not an executor's threads: Python's end would wait for those.
        with ThreadPool(1 if row.alone else 2) as pool:
            local, cluster = pool.map(_attempt, sides, chunksize=1)
    except KeyboardInterrupt:
        _interrupt()
        raise
    problem = "; ".join(
        f"{name}: {side.problem}"
        for name, side in (("local", local), ("cluster", cluster))
        if side.problem
    )
    return Report(
        row=row.name,
        shows=row.shows,
        lesson=row.lesson,
        local_s=round(local.seconds, 2),
        cluster_s=round(cluster.seconds, 2),
        pids=cluster.pids,
        ok=not problem,
        found=cluster.found,
        problem=problem,
        local=local.lines,
        cluster=cluster.lines,
    )


def _interrupt() -> None:
    """End the scripts as Ctrl-C would, by force where that takes too long."""
    started = list(_running)
    for process in started:
        os.killpg(process.pid, signal.SIGINT)
    deadline = time.monotonic() + _INTERRUPTED_WITHIN_S
    for process in started:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _attempt(side: Callable[[], Side]) -> Side:
    started = time.monotonic()
    try:
        return side()
    except Exception as error:
        text = str(error) if isinstance(error, DaySixError) else f"{type(error).__name__}: {error}"
        return Side(time.monotonic() - started, problem=text)


def _run_script(row: Row, how: list[str]) -> Side:
    started = time.monotonic()
    process = _start(row, how, subprocess.PIPE)
    shown = ""
    with _ended_in_time(process):
        if row.endless:
            shown = _read_values(process)
            os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate()
    return _judge(row, process, shown + rest, errors, time.monotonic() - started)


def _run_on_terminal(row: Row, how: list[str]) -> Side:
    """The same on a terminal of its own, where each line comes when it is printed."""
    started = time.monotonic()
    ours, theirs = pty.openpty()
    try:
        process = _start(row, how, theirs)
    finally:
        os.close(theirs)
    # What goes wrong is little, and must not be what the terminal's reader waits for.
    with ThreadPoolExecutor(1) as executor:
        errors = executor.submit(process.stderr.read if process.stderr else str)
        try:
            with _ended_in_time(process):
                lines = _read_lines(row, process, ours, started)
                process.wait()
        finally:
            os.close(ours)
    shown = "".join(f"{line}\n" for _, line in lines)
    side = _judge(row, process, shown, errors.result(), time.monotonic() - started)
    return replace(side, lines=lines)


def _read_lines(
    row: Row, process: "subprocess.Popen[str]", terminal: int, started: float
) -> list[tuple[float, str]]:
    lines: list[tuple[float, str]] = []
    rest = b""
    told = False
    while True:
        if not select.select([terminal], [], [], 0.1)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux' way to say that nobody has the other end any more
            break
        if not chunk:
            break
        *whole, rest = (rest + chunk).split(b"\n")
        now = time.monotonic() - started
        lines += [(now, line.decode("utf-8", "replace").rstrip("\r")) for line in whole]
        received = sum(line.startswith("接受到值") for _, line in lines)
        if row.endless and received >= _ENDLESS_VALUES and not told:
            told = True
            os.killpg(process.pid, signal.SIGINT)
    return lines


@contextlib.contextmanager
def _ended_in_time(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill it when it takes too long, which ends whoever reads from it too, and in any case."""
    limit = threading.Timer(TIMEOUT_S, os.killpg, (process.pid, signal.SIGKILL))
    limit.daemon = True
    limit.start()
    _running.add(process)
    try:
        yield
    finally:
        limit.cancel()
        _running.discard(process)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _start(row: Row, how: list[str], output: int) -> "subprocess.Popen[str]":
    # Unbuffered, `print` writes piece by piece, and two processes mix in one line.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [sys.executable, *how, str(FOLDER / row.script)],
        cwd=FOLDER.parent,
        env={**buffered, "OUTPUT": "lines", "PYTHONIOENCODING": "utf-8"},
        stdout=output,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        # Ctrl-C may be ignored where we run; the endless row is ended with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def _judge(
    row: Row, process: "subprocess.Popen[str]", shown: str, errors: str, seconds: float
) -> Side:
    if process.returncode == -signal.SIGKILL and seconds >= TIMEOUT_S:
        late = (
            f"not done after {TIMEOUT_S:.0f} s; do other tasks wait before its own? producer status"
        )
        return Side(seconds, problem=late)
    if process.returncode and not row.endless:
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        return Side(seconds, problem=f"exit status {process.returncode}: {last}")
    own = re.findall(r"^执行时间: *([\d.]+)", shown, re.MULTILINE)
    return row.check(shown, float(own[-1]) if len(own) == 1 else seconds)


def _read_values(process: "subprocess.Popen[str]") -> str:
    """The first values of the endless row."""
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if len([line for line in lines if line.startswith("接受到值")]) >= _ENDLESS_VALUES:
            break
    return "".join(lines)


def _pids(text: str) -> int:
    return len(set(re.findall(r"pid: (\d+)", text)))


def _results(text: str) -> list[Any]:
    return [ast.literal_eval(line) for line in re.findall(r"进程返回参数: (\(.*?\))", text)]


def _check_processes(text: str, seconds: float) -> Side:
    steps = sorted(re.findall(r"^(\d) ([ab]) pid:", text, re.MULTILINE))
    problem = ""
    if steps != sorted((str(i), name) for i in range(5) for name in "ab"):
        problem = f"expected the steps 0 to 4 of a and b, got {steps!r}"
    elif not 4.9 <= seconds < 8:
        problem = f"two times five steps of a second side by side took {seconds:.1f} s"
    elif _pids(text) < 2:
        problem = "both ran in one process"
    return Side(seconds, _pids(text), problem)


def _check_pool(text: str, seconds: float) -> Side:
    returned = _results(text)
    pids = {pid for _, pid in returned}
    problem = ""
    if [count for count, _ in returned] != list(range(20)):
        problem = f"expected the counts 0 to 19 in order, got {returned!r}"
    elif not all(type(item) is tuple for item in returned):
        problem = f"expected tuples, got {returned[0]!r}"
    elif seconds < 4:
        problem = f"20 tasks of a second, five at once, cannot take {seconds:.1f} s"
    return Side(seconds, len(pids), problem)


def _check_lock(text: str, seconds: float) -> Side:
    returned = _results(text)
    times = sorted((entered, left) for _, _, entered, left in returned)
    inside_together = [
        earlier for earlier, later in itertools.pairwise(times) if later[0] < earlier[1]
    ]
    problem = ""
    if [count for count, *_ in returned] != list(range(20)):
        problem = f"expected the counts 0 to 19 in order, got {returned!r}"
    elif inside_together:
        problem = f"two were inside the lock at once, {len(inside_together)} times"
    return Side(seconds, len({pid for _, pid, *_ in returned}), problem)


def _check_queue(text: str, seconds: float) -> Side:
    received = re.findall(r"^接受到值 (.*)$", text, re.MULTILINE)[:_ENDLESS_VALUES]
    numbers = [value for value in received if value != "你好"]
    problem = ""
    if "你好" not in received or numbers != [str(i + 1) for i in range(len(numbers))]:
        problem = f"expected 你好 and 1, 2, 3 in order, got {received!r}"
    return Side(seconds, 3, problem, found="ended when told")


def _check_threads(text: str, seconds: float) -> Side:
    moved = {
        name: (ast.literal_eval(old), ast.literal_eval(new))
        for name, old, new in re.findall(
            r"^(\w+): old_list: (\[.*?\]) new_list: (\[.*?\])$", text, re.MULTILINE
        )
    }
    every = [str(i) for i in range(1, 10)]
    wrong = [
        name for name in ("lock", "queue") if moved[name][0] or sorted(moved[name][1]) != every
    ]
    old, new = moved["race"]
    raced = bool(old) or sorted(new) != every
    problem = f"the cure failed: {wrong}" if wrong else "" if raced else "no race was seen"
    doubled = len(new) - len(set(new))
    return Side(seconds, 1, problem, found=f"race: {len(old)} left behind, {doubled} doubled")


def _check_executor(text: str, seconds: float) -> Side:
    numbers = [
        int(number) for number in re.findall(r"\d+", text.rpartition("结果:")[2].partition("]")[0])
    ]
    problem = "" if numbers == list(range(20)) else f"expected 0 to 19 in order, got {numbers!r}"
    return Side(seconds, 1, problem)


def _check_gil(text: str, seconds: float) -> Side:
    in_threads, in_processes = (_times_serial(text, how) for how in ("thread", "process"))
    gil = "GIL: on" in text
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    problem = ""
    if gil and in_threads > 1.2:
        problem = f"with the GIL threads cannot be {in_threads:.2f} times as fast"
    elif cores >= 2 and in_processes < 1.2:
        problem = f"two processes on {cores} cores were only {in_processes:.2f} times as fast"
    found = (
        f"GIL {'on' if gil else 'off'}; threads {in_threads:.2f}x, processes {in_processes:.2f}x"
    )
    if problem and os.getloadavg()[0] > cores / 2:
        # Somebody else computes, too, which spoils the comparison.
        found += f" (the machine is busy, load {os.getloadavg()[0]:.1f}: not judged)"
        problem = ""
    return Side(seconds, 2, problem, found)


def _times_serial(text: str, how: str) -> float:
    shown = re.search(rf"^{how}\w*: .* ([\d.]+) times serial", text, re.MULTILINE)
    return float(shown[1]) if shown else 0.0


def _check_asyncio(text: str, seconds: float) -> Side:
    found = "; ".join(re.findall(r"^(?:asyncio|threads): .*$", text, re.MULTILINE))
    problem = "" if re.search(r"^asyncio: .*threads: 1$", text, re.MULTILINE) else f"got {text!r}"
    return Side(seconds, 1, problem, found)


def _check_gevent(text: str, seconds: float) -> Side:
    shown = re.search(r"200 greenlets: ([\d.]+) s, processes: 1", text)
    problem = "" if shown and float(shown[1]) < 3 else f"got {text!r}"
    return Side(float(shown[1]) if shown else seconds, 1, problem)


def _coroutines_on_the_cluster() -> Side:
    """S8: coroutine functions as tasks, their results awaited."""
    from examples import s8_asyncio
    from shared.futures import ClusterExecutor

    async def gather(executor: ClusterExecutor) -> list[Any]:
        waiting = [executor.submit(s8_asyncio.wait_async, n) for n in range(s8_asyncio.WAITS)]
        return await asyncio.gather(*(asyncio.wrap_future(future) for future in waiting))

    with ClusterExecutor(16, kind=PoolKind.THREADS) as executor:
        started = time.monotonic()
        results = asyncio.run(gather(executor))
        seconds = time.monotonic() - started
    numbers = [number for number, _ in results]
    problem = "" if numbers == list(range(s8_asyncio.WAITS)) else f"got {numbers!r}"
    return Side(seconds, 1, problem, f"{len(results)} coroutines awaited from the threads pool")


def _greenlets_on_the_cluster() -> Side:
    """S9: two hundred waiting tasks in one gevent worker."""
    from examples import s9_gevent
    from shared import multiprocessing

    with multiprocessing.Pool(200, kind=PoolKind.GEVENT) as pool:
        started = time.monotonic()
        pids = set(pool.map(s9_gevent.wait, [1] * 200, chunksize=1))
        seconds = time.monotonic() - started
    problem = "" if seconds < 3 else f"200 tasks that wait a second took {seconds:.1f} s"
    return Side(seconds, len(pids), problem, "200 waiting tasks of a second")


ROWS = [
    Row(
        "S1",
        "two processes of five 1 s steps",
        "processes run side by side; remote ones print here too",
        "s1_process.py",
        _check_processes,
    ),
    Row(
        "S2",
        "Pool(5): 20 tasks of 1 s",
        "a pool bounds what runs at once, and its tasks return values",
        "s2_pool.py",
        _check_pool,
    ),
    Row(
        "S3",
        "the same with a lock around each",
        "a lock lets one in at a time, on whichever machine",
        "s3_lock.py",
        _check_lock,
    ),
    Row(
        "S4",
        "a queue between three processes",
        "processes share nothing: they send messages",
        "s4_queue.py",
        _check_queue,
        endless=True,
    ),
    Row(
        "S5",
        "nine threads move nine items",
        "two steps on shared data are a race; a lock or a queue cures it",
        "s5_threads.py",
        _check_threads,
    ),
    Row(
        "S6",
        "two threads, a lock, results in order",
        "a future stands for a value that is still to come",
        "s6_executor.py",
        _check_executor,
    ),
    Row(
        "S7",
        "CPU work: serial, threads, processes",
        "the GIL: threads do not speed Python up, processes do (PyPy has a GIL too)",
        "s7_gil.py",
        _check_gil,
        alone=True,
    ),
    Row(
        "S8",
        "50 coroutines wait",
        "one thread holds many that wait; a coroutine gives way only at an await",
        "s8_asyncio.py",
        _check_asyncio,
        cluster=_coroutines_on_the_cluster,
    ),
    Row(
        "S9",
        "200 greenlets wait 1 s",
        "waiting costs almost nothing: hundreds in one process",
        "s9_gevent.py",
        _check_gevent,
        cluster=_greenlets_on_the_cluster,
    ),
]

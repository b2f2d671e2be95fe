"""Run it, and account for every message: done, or a dead letter that its waiter heard of."""

import base64
import contextlib
import json
import random
import time
from dataclasses import asdict, dataclass, field

import psutil

from shared.broker import keys
from tests.chaos.bench import QUEUE, Bench
from tests.fuzz import generate
from tests.support import patient

POOLS = ("prefork", "threads", "gevent")
CONCURRENCY = 2
BAD, GOOD = 60, 20
MOST_BYTES = 400_000_000
ROUND_S = 40.0


@dataclass
class Account:
    """What was done, and whatever is wrong with the end."""

    seed: int
    rounds: int = 0
    bad: int = 0
    good: int = 0
    done: int = 0
    twice: int = 0
    dead: int = 0
    kills: int = 0
    most_mb: float = 0.0
    longest_round_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def line(self):
        """All of it in JSON."""
        return json.dumps(asdict(self))


class Fuzz:
    """One Redis, a worker of each pool, and what was sent to them."""

    def __init__(self, bench, account):
        self.bench, self.account = bench, account
        self.random = random.Random(account.seed)
        self.workers = {pool: bench.worker(pool, CONCURRENCY) for pool in POOLS}
        self.sent = []  # (id, whether it is a call), as far as these can be told
        bench.client.xadd(generate.STREAM, {"id": "hello"})

    def round(self):
        """Send bad ones among good ones, perhaps kill a worker, and wait until all is settled."""
        began = time.monotonic()
        for text in generate.messages(self.random, BAD):
            self.bench.client.lpush(QUEUE, text)
            self.sent.append(_identify(text))
            if self.random.random() < GOOD / BAD:
                self.bench.send(1, seconds=self.random.choice((0.0, 0.01)))
                self.account.good += 1
            if self.random.random() < 0.1:
                generate.odd_entries(self.random, self.bench.client)
        if self.random.random() < 0.4:
            self._kill_one()
        deadline = began + patient(ROUND_S)
        while not self._is_settled():
            self._look_at_workers()
            if time.monotonic() > deadline:
                self.account.wrong.append(f"unsettled after {time.monotonic() - began:.0f} s")
                self._explain()
            if self.account.wrong:
                return
            time.sleep(0.05)
        self.account.rounds += 1
        self.account.bad += BAD
        took = time.monotonic() - began
        self.account.longest_round_s = max(self.account.longest_round_s, round(took, 1))

    def _kill_one(self):
        pool = self.random.choice(POOLS)
        time.sleep(self.random.uniform(0.0, 0.3))
        self.bench.kill(self.workers[pool])
        self.workers[pool] = self.bench.worker(pool, CONCURRENCY)
        self.account.kills += 1

    def _is_settled(self):
        return (
            not self.bench.client.llen(QUEUE)
            and not self._held()
            and self._done() >= self.account.good
        )

    def _done(self):
        """How many good tasks; the number of all others is 0."""
        return self.bench.done() - self.bench.notes.sismember("done", 0)

    def _held(self):
        """What live or lost workers hold; entries that are no messages of theirs do not count."""
        client = self.bench.client
        return [
            entry
            for key in client.scan_iter(keys.TAKEN + "*", count=1_000)
            for entry in client.hvals(key)
        ]

    def _look_at_workers(self):
        for pool, worker in self.workers.items():
            if worker.poll() is not None:
                end = self.bench.log_of(worker)[-3_000:]
                self.account.wrong.append(f"{pool} ended with {worker.returncode}: {end}")
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                first = psutil.Process(worker.pid)
                for process in (first, *first.children()):
                    used = process.memory_info().rss
                    self.account.most_mb = max(self.account.most_mb, round(used / 1e6, 1))
                    if used > MOST_BYTES:
                        self.account.wrong.append(f"{pool} uses {used:,} bytes")

    def _explain(self):
        client = self.bench.client
        self.account.wrong.append(
            f"queued {client.llen(QUEUE)}, held {[entry[:300] for entry in self._held()[:3]]}, "
            f"good tasks not done {self.account.good - self._done()}"
        )

    def finish(self):
        """Look at every message once more."""
        account, client = self.account, self.bench.client
        letters = {}
        # Not with HGETALL: after a long run its answer takes longer than a client waits.
        for field_, text in client.hscan_iter(keys.DEAD_LETTERS, count=50):
            with contextlib.suppress(ValueError):
                letters[field_.decode(errors="replace")] = json.loads(text)
        answered = {
            fields.get(b"id", b"").decode(errors="replace")
            for _, fields in client.xrange(generate.STREAM)
        }
        account.dead = len(letters)
        account.done = self._done()
        runs = self.bench.notes.hgetall("ran")
        account.twice = sum(int(times) - 1 for number, times in runs.items() if number != b"0")
        if account.twice > account.kills * CONCURRENCY * 2:
            account.wrong.append(f"{account.twice} ran twice")
        for task_id, is_call, text in self.sent:
            if task_id is None:
                continue
            stored = client.get(keys.RESULT + task_id)
            told = task_id in answered if is_call else stored is not None
            if not told:
                what = "a dead letter" if task_id in letters else "nowhere"
                account.wrong.append(f"nobody was told of {task_id} ({what}): {text[:1_500]!r}")
        nameless = sum(task_id is None for task_id, _, _ in self.sent)
        known = {task_id for task_id, _, _ in self.sent}
        unknown = [letter for letter in letters if letter not in known]
        # Some have an id in their body alone, and could be run.
        if len(unknown) < nameless * 0.5:
            account.wrong.append(f"{nameless} had no id, {len(unknown)} letters are of such")


def _identify(text):
    """Whom a message would be told to: its id, and whether a caller waits at its stream."""
    from shared.broker import messages

    known = messages.parts(text)
    headers, properties = known["headers"], known["properties"]
    task_id = headers.get("id")
    is_call = str(properties.get("reply_to")).startswith(keys.REPLIES)
    if is_call and properties["reply_to"] != generate.STREAM:
        task_id = None
    if headers.get("ignore_result") and not is_call:
        task_id = None
    if "task" not in headers:
        task_id = None  # its id is in its body, and may be another
    return task_id, is_call, base64.b64encode(text) if len(text) > 5_000 else text


def run(seconds, seed, *, say=lambda line: None):
    """Fuzz for so long; the account, with what is wrong in it."""
    account = Account(seed)
    until = time.monotonic() + seconds
    with Bench(lease_s=3.0, seed=seed) as bench:
        fuzz = Fuzz(bench, account)
        while not account.wrong and (time.monotonic() < until or not account.rounds):
            fuzz.round()
            say(account.line())
        if not account.wrong:
            fuzz.finish()
    return account

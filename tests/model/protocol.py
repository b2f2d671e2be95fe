"""The delivery protocol of `shared/broker/` as a small state machine.

A state is an immutable tuple: what Redis holds, what each worker has in memory, and how many faults
are still to come. An action yields every state that can follow, with a label for the trace. Each
action names the script or function of `shared/broker/` that it models. Scripts are atomic, so each
is one action. A kill, a lost reply and the end of a lease are actions too, between two scripts.

Read beside the scripts: the front of `queue` is the end from which Redis pops (`rpop`).
"""

from collections.abc import Iterator
from typing import NamedTuple

KEPT, RETURNING, RUNNING, FAILED, REFUSED = "kept", "returning", "running", "failed", "refused"
NONE, SUCCESS, FAILURE = 0, 1, 2
LOST_LEASE = -1  # TAKE's answer to an owner whose lease has ended


class Message(NamedTuple):
    """A message in a list. `losses` is the truth, which the protocol cannot read."""

    task: int
    count: int = 0
    losses: int = 0


class Entry(NamedTuple):
    """A field of the hash `taken:<owner>`."""

    owner: int
    number: int
    message: Message


class Job(NamedTuple):
    """A delivered message in a worker's memory; `owner` and `number` are its delivery tag."""

    owner: int
    number: int
    task: int
    phase: str = KEPT


class Worker(NamedTuple):
    """A worker's memory. A reply is (owner, messages, acknowledgements), and still in flight."""

    name: int
    next: int = 0
    again: bool = True
    reply: tuple | None = None
    jobs: frozenset = frozenset()
    acks: frozenset = frozenset()  # (owner, number)


class Faults(NamedTuple):
    """How often each of these may happen in one search; bounds that keep a search finite, and short."""

    kills: int = 0
    pauses: int = 0  # a lease ends although its worker lives: paused, or cut off
    losses: int = 0  # replies that are lost, or arrive late
    restarts: int = 0  # Redis restarts without the last acknowledgements that it has answered
    gives: int = 0  # messages not begun that are given back
    failures: int = 0  # tasks that fail for the last time, or are refused
    retries: int = 0
    cancels: int = 0
    countdowns: int = 0  # the first so many tasks are sent with a countdown


class State(NamedTuple):
    """Redis (`queue` to `waiting`), the sender (`sent`), the workers, and the faults to come."""

    queue: tuple = ()
    names: frozenset = frozenset()
    buried: frozenset = frozenset()
    taken: frozenset = frozenset()
    outcomes: tuple = ()
    dead: frozenset = frozenset()
    mark: int = -1
    cancelled: frozenset = frozenset()
    waiting: frozenset = frozenset()  # tasks whose countdown still runs
    answers: tuple = ()  # how many answers each task's caller got in its reply stream
    sent: int = 0
    workers: tuple = ()
    left: Faults = Faults()


Step = tuple[str, State]


def spend(s: State, kind: str) -> State | None:
    """The state with one fault less to come, or None if there is none left."""
    left = getattr(s.left, kind)
    return s._replace(left=s.left._replace(**{kind: left - 1})) if left else None


def with_worker(s: State, at: int, worker: Worker | None) -> State:
    return s._replace(workers=(*s.workers[:at], worker, *s.workers[at + 1 :]))


def living(s: State) -> list[tuple[int, Worker]]:
    return [(at, worker) for at, worker in enumerate(s.workers) if worker]


def entry_at(s: State, owner: int, number: int) -> Entry | None:
    """Return the entry that HGET finds."""
    return next((e for e in s.taken if e.owner == owner and e.number == number), None)


def hdel(s: State, tags: frozenset) -> State:
    """HDEL of these (owner, number)."""
    kept = frozenset(e for e in s.taken if (e.owner, e.number) not in tags)
    return s._replace(taken=kept) if len(kept) < len(s.taken) else s


def put_outcome(s: State, task: int, outcome: int) -> State:
    """Store an outcome in Celery's result backend, which never replaces a success."""
    if s.outcomes[task] == SUCCESS:
        return s
    return s._replace(outcomes=(*s.outcomes[:task], outcome, *s.outcomes[task + 1 :]))


class Protocol:
    """The steps; `mutant` names one deliberate mistake of `tests.model.searches`."""

    def __init__(
        self,
        workers: int,
        tasks: int,
        faults: Faults,
        *,
        limit: int = 2,
        asks: tuple[int, ...] = (2,),
        sending: bool = True,
        in_order: bool = False,
        symmetry: bool = True,
        mutant: str = "",
    ) -> None:
        self.workers, self.tasks, self.faults = workers, tasks, faults
        self.limit, self.asks, self.in_order = limit, asks, in_order
        self.sending, self.symmetry, self.mutant = sending, symmetry, mutant

    def initial(self) -> State:
        sent = 0 if self.sending else self.tasks
        return self.canonical(
            State(
                queue=tuple(map(Message, range(sent))),
                mark=sent - 1,
                sent=sent,
                names=frozenset(range(self.workers)),
                outcomes=(NONE,) * self.tasks,
                answers=(0,) * self.tasks,
                waiting=frozenset(range(self.faults.countdowns)),
                workers=tuple(Worker(name) for name in range(self.workers)),
                left=self.faults,
            )
        )

    # --- sending ---

    def send(self, s: State) -> Iterator[Step]:
        """pushing.PUSH_ONE; if the reply is lost, the sender repeats the push."""
        task = s.sent
        if task == self.tasks:
            return
        known = s.mark == task and self.mutant != "push without mark"
        if self.mutant == "any mark counts":
            known = s.mark >= 0
        pushed = s if known else s._replace(queue=(*s.queue, Message(task)), mark=task)
        yield f"task {task} is sent", pushed._replace(sent=task + 1)
        if lossy := spend(pushed, "losses"):
            yield f"task {task} is sent, the reply is lost", lossy

    # --- taking ---

    def take(self, s: State) -> Iterator[Step]:
        """ownership.TAKE, sent by transport.Channel._brpop_start with the acknowledgements."""
        for at, w in living(s):
            if w.reply is not None or (self.in_order and self._keeps(w)):
                continue
            along = frozenset(ack for ack in w.acks if ack[0] == w.name)
            for ask in self.asks:
                after, answer = self._take(hdel(s, along), w, ask)
                if not (answer or along):
                    continue
                asked = w._replace(reply=(w.name, answer, along), acks=w.acks - along)
                label = f"worker {at} takes {_tasks(answer)}"
                yield label, self._heard(after, at, asked)
                if lossy := spend(after, "losses"):
                    yield f"{label}, the reply is on its way", with_worker(lossy, at, asked)
            if along and self.mutant == "acknowledgements lost with a take":
                lossy = spend(s, "losses")
                silent = w._replace(again=True, acks=w.acks - along)
                if lossy:
                    yield f"worker {at} asks, Redis never hears it", with_worker(lossy, at, silent)

    def _keeps(self, w: Worker) -> bool:
        """polling: nothing is taken beside a kept message, because it would overtake it.

        The search for the order alone holds to this. Elsewhere a message not begun also stands for
        one that the pool has: transport.QoS.restore_unacked gives those back, in no order.
        """
        keeps = any(job.phase in (KEPT, RETURNING) and job.owner == w.name for job in w.jobs)
        return keeps and self.mutant != "take beside kept messages"

    def _take(self, s: State, w: Worker, ask: int) -> tuple[State, tuple | int]:
        if w.name not in s.names and self.mutant != "take without owner check":
            return s, LOST_LEASE
        found, number, queue, taken = [], w.next, s.queue, s.taken
        while (
            w.again
            and self.mutant != "repeated take forgets"
            and (before := entry_at(s, w.name, number))
        ):
            found.append((number, before.message))
            number += 1
        while queue and len(found) < ask:
            message, *rest = queue
            found.append((number, message))
            if self.mutant != "take records later":
                taken = hdel(s._replace(taken=taken), frozenset({(w.name, number)})).taken
                taken |= {Entry(w.name, number, message)}
            queue, number = tuple(rest), number + 1
        return s._replace(queue=queue, taken=taken), tuple(found)

    def hear(self, s: State) -> Iterator[Step]:
        """transport.Channel._read_answer and _keep: the reply of a take arrives."""
        for at, w in living(s):
            if w.reply is not None:
                yield f"worker {at} hears of {_tasks(w.reply[1])}", self._heard(s, at, w)

    def _heard(self, s: State, at: int, w: Worker) -> State:
        name, answer, _ = w.reply
        heard = w._replace(reply=None, again=False)
        if answer == LOST_LEASE:
            if w.name == name:
                s, heard = self._another(s, heard)
        elif answer and w.name == name:
            jobs = frozenset(Job(w.name, number, m.task) for number, m in answer)
            heard = heard._replace(jobs=w.jobs | jobs, next=answer[-1][0] + 1)
            if self.mutant == "take records later":
                entries = frozenset(Entry(name, number, m) for number, m in answer)
                s = s._replace(taken=s.taken | entries)
        return with_worker(s, at, heard)

    def lose(self, s: State) -> Iterator[Step]:
        """transport.Channel._brpop_read, when the reply of a take is lost: _settle_again."""
        for at, w in living(s):
            if w.reply is not None:
                again = w._replace(reply=None, again=True, acks=w.acks | w.reply[2])
                yield f"worker {at} loses the reply of its take", with_worker(s, at, again)

    # --- running ---

    def begin(self, s: State) -> Iterator[Step]:
        """worker.requests.Request.revoked: begin, unless the lease was lost or it is cancelled."""
        for at, w, job in _jobs(s, KEPT):
            if job.task in s.waiting:
                continue
            if job.owner != w.name:
                gone = w._replace(jobs=w.jobs - {job})
                yield f"worker {at} forgets task {job.task}", with_worker(s, at, gone)
                entry = entry_at(s, job.owner, job.number)
                if entry:  # recovery.requeue_delivered: to the end of the list, not counted
                    after = hdel(s, frozenset({(job.owner, job.number)}))
                    after = after._replace(queue=(*s.queue, entry.message))
                    yield f"worker {at} requeues task {job.task}", with_worker(after, at, gone)
            elif job.task in s.cancelled:
                yield f"worker {at} skips cancelled task {job.task}", self._end(s, at, w, job)
            else:
                running = w._replace(jobs=w.jobs - {job} | {job._replace(phase=RUNNING)})
                if self.mutant == "acknowledge at the beginning":
                    running = running._replace(acks=w.acks | {(job.owner, job.number)})
                yield f"worker {at} begins task {job.task}", with_worker(s, at, running)

    def _end(self, s: State, at: int, w: Worker, job: Job) -> State:
        ended = w._replace(jobs=w.jobs - {job}, acks=w.acks | {(job.owner, job.number)})
        return with_worker(put_outcome(s, job.task, SUCCESS), at, ended)

    def end_task(self, s: State) -> Iterator[Step]:
        """An ordinary task: Celery stores the outcome, then transport.QoS.ack: Owner.settle."""
        for at, w, job in _jobs(s, RUNNING):
            yield f"worker {at} ends task {job.task}", self._end(s, at, w, job)

    def end_call(self, s: State) -> Iterator[Step]:
        """A library call: outbox.SEND stores the outcome and acknowledges; repeated if lost."""
        for at, w, job in _jobs(s, RUNNING):
            after = s
            if entry_at(s, job.owner, job.number) or self.mutant == "answer without record":
                after = put_outcome(s, job.task, SUCCESS)
                after = hdel(after, frozenset({(job.owner, job.number)}))
                told = list(s.answers)
                told[job.task] += 1
                after = after._replace(answers=tuple(told))
            ended = w._replace(jobs=w.jobs - {job})
            yield f"worker {at} answers call {job.task}", with_worker(after, at, ended)
            if after is not s and (lossy := spend(after, "losses")):
                yield f"worker {at} answers call {job.task}, the reply is lost", lossy

    def flush(self, s: State) -> Iterator[Step]:
        """ownership.Owner._flush_settled: all acknowledgements in one batch; repeated if lost."""
        for at, w in living(s):
            if w.acks:
                after = hdel(s, w.acks)
                flushed = with_worker(after, at, w._replace(acks=frozenset()))
                yield f"worker {at} flushes its acknowledgements", flushed
                if after is not s and (rolled := spend(s, "restarts")):
                    label = f"worker {at} flushes, and Redis restarts without its last second"
                    yield label, with_worker(rolled, at, w._replace(acks=frozenset()))
                if after is not s and (lossy := spend(after, "losses")):
                    yield f"worker {at} flushes, the reply is lost", lossy

    def give_back(self, s: State) -> Iterator[Step]:
        """recovery.give_back with _RETURN: the last message not begun goes to the front."""
        for at, w in living(s):
            jobs = [j for j in w.jobs if j.phase in (KEPT, RETURNING) and j.owner == w.name]
            if not jobs:
                continue
            job = (min if self.mutant == "give back the first one first" else max)(jobs)
            costly = s if job.phase == RETURNING else spend(s, "gives")
            if costly is None:
                continue
            after = self._return(costly, job, counted=self.mutant == "give back counts")
            gone = w._replace(jobs=w.jobs - {job})
            yield f"worker {at} gives task {job.task} back", with_worker(after, at, gone)
            if job.phase == KEPT and (lossy := spend(after, "losses")):
                unsure = w._replace(jobs=w.jobs - {job} | {job._replace(phase=RETURNING)})
                label = f"worker {at} gives task {job.task} back, the reply is lost"
                yield label, with_worker(lossy, at, unsure)

    def _return(self, s: State, job: Job | Entry, *, counted: bool) -> State:
        """recovery._RETURN: nothing happens unless the entry is still there."""
        entry = entry_at(s, job.owner, job.number)
        if entry is None:
            if self.mutant == "return without check" and isinstance(job, Job):
                return s._replace(queue=(Message(job.task), *s.queue))
            return s
        message = entry.message
        if counted:
            message = message._replace(count=message.count + 1)
        if isinstance(job, Entry) and message.task not in s.waiting:
            message = message._replace(losses=message.losses + 1)
        pushed = s._replace(queue=(message, *s.queue))
        if self.mutant == "return without removal":
            return pushed
        return hdel(pushed, frozenset({(job.owner, job.number)}))

    # --- failing ---

    def fail(self, s: State) -> Iterator[Step]:
        """Celery stores the failure; then requests._keep: deadletters.bury(tell=False), and ack."""
        for at, w, job in _jobs(s, RUNNING):
            if costly := spend(s, "failures"):
                after = put_outcome(costly, job.task, FAILURE)
                failed = w._replace(jobs=w.jobs - {job} | {job._replace(phase=FAILED)})
                if self.mutant == "acknowledge before the dead letter":
                    failed = failed._replace(acks=w.acks | {(job.owner, job.number)})
                yield f"task {job.task} fails on worker {at}", with_worker(after, at, failed)
        for at, w, job in _jobs(s, FAILED):
            after = self._bury(s, job)
            tag = (job.owner, job.number)
            buried = w._replace(jobs=w.jobs - {job}, acks=w.acks | {tag})
            label = f"worker {at} makes task {job.task} a dead letter"
            yield label, with_worker(hdel(after, frozenset({tag})), at, buried)

    def refuse(self, s: State) -> Iterator[Step]:
        """deadletters.bury_entry(tell=True) for a refused message: letter, tell, then remove."""
        for at, w, job in (*_jobs(s, KEPT), *_jobs(s, REFUSED)):
            costly = s if job.phase == REFUSED else spend(s, "failures")
            if costly is None:
                continue
            tag = frozenset({(job.owner, job.number)})
            entry = entry_at(s, job.owner, job.number)
            refused = w._replace(jobs=w.jobs - {job} | {job._replace(phase=REFUSED)})
            half = self._bury(costly, job)
            if self.mutant == "bury removes first":
                half = hdel(costly, tag)
            yield f"worker {at} refuses task {job.task}", with_worker(half, at, refused)
            told = self._told(self._bury(costly, job), entry)
            gone = w._replace(jobs=w.jobs - {job})
            yield f"worker {at} refuses task {job.task} and tells", with_worker(told, at, gone)

    def _bury(self, s: State, job: Job | Entry) -> State:
        """deadletters._BURY: nothing happens unless the entry is still there."""
        entry = entry_at(s, job.owner, job.number)
        return s._replace(dead=s.dead | {entry.message.task}) if entry else s

    def _told(self, s: State, entry: Entry | None) -> State:
        """The rest of deadletters.bury_entry: the caller is told (a failure), then HDEL."""
        if entry is None:
            return s
        if s.outcomes[entry.message.task] == NONE:
            s = put_outcome(s, entry.message.task, FAILURE)
        return hdel(s, frozenset({(entry.owner, entry.number)}))

    def retry(self, s: State) -> Iterator[Step]:
        """deadletters._RETRY: to the end of the list, without the count; the result is deleted."""
        for task in s.dead:
            if costly := spend(s, "retries"):
                outcomes = (*s.outcomes[:task], NONE, *s.outcomes[task + 1 :])
                after = costly._replace(dead=s.dead - {task}, outcomes=outcomes)
                if self.mutant == "retry removes first":
                    yield f"dead letter {task} is removed", after
                after = after._replace(queue=(*s.queue, Message(task)))
                yield f"dead letter {task} is retried", after

    def cancel(self, s: State) -> Iterator[Step]:
        """cancelled.add, and the broadcast to living workers."""
        for task in range(s.sent):
            if task not in s.cancelled and (costly := spend(s, "cancels")):
                after = costly._replace(cancelled=s.cancelled | {task})
                yield f"task {task} is cancelled", after

    def due(self, s: State) -> Iterator[Step]:
        """A task's countdown ends (recovery._waits_for_its_time)."""
        for task in s.waiting:
            if task < s.sent:
                yield f"task {task} is due", s._replace(waiting=s.waiting - {task})

    # --- losing a worker ---

    def kill(self, s: State) -> Iterator[Step]:
        """A worker is killed: its memory is gone, its lease still runs."""
        for at, _ in living(s):
            if costly := spend(s, "kills"):
                yield f"worker {at} is killed", with_worker(costly, at, None)

    def start(self, s: State) -> Iterator[Step]:
        """ownership.Owner._become_another: a new worker process with a new owner name."""
        for at, worker in enumerate(s.workers):
            if worker is None:
                after, fresh = self._another(s, Worker(0))
                yield f"worker {at} starts", with_worker(after, at, fresh)

    def lease_ends(self, s: State) -> Iterator[Step]:
        """ownership.RENEW, run by another worker: the owner's lease has ended, it is buried."""
        current = {w.name: at for at, w in living(s)}
        for owner in s.names:
            if not current.keys() - {owner}:
                continue
            costly = spend(s, "pauses") if owner in current else s
            if costly:
                buried = s.buried | {owner}
                if self.mutant == "a lost owner is not buried":
                    buried = s.buried
                label = f"the lease on {_held(s, owner)} ends"
                if owner in current:
                    label += f", worker {current[owner]} being paused"
                yield label, costly._replace(names=s.names - {owner}, buried=buried)

    def find_lost(self, s: State) -> Iterator[Step]:
        """ownership.Owner.lost, after RENEW has said that the lease was lost."""
        for at, w in living(s):
            if w.name not in s.names:
                after, another = self._another(s, w)
                label = f"worker {at} finds its lease lost and becomes a new owner"
                yield label, with_worker(after, at, another)

    def _another(self, s: State, w: Worker) -> tuple[State, Worker]:
        name = 1 + max(_owners(s), default=-1)
        acks = w.acks
        if self.mutant == "back under the old name":
            name = w.name
        if self.mutant == "acknowledgements move to the new name":
            acks = frozenset((name, number) for _, number in acks)
        fresh = w._replace(name=name, next=0, again=True, acks=acks)
        return s._replace(names=s.names | {name}), fresh

    def return_next(self, s: State) -> Iterator[Step]:
        """recovery.return_all, one message of a buried owner: largest number first."""
        for owner in s.buried if living(s) else ():
            entries = [e for e in s.taken if e.owner == owner]
            if not entries:
                continue
            entry = max(entries)
            task, tag = entry.message.task, frozenset({(owner, entry.number)})
            if s.outcomes[task] == SUCCESS:
                yield f"task {task} has its outcome and is forgotten", hdel(s, tag)
                # The check ran just before the outcome was stored: then it is returned, see below.
            elif s.outcomes[task] == FAILURE:  # recovery._finish, on_outcome, bury(tell=False)
                after = s if self.mutant == "forget a failure" else self._bury(s, entry)
                yield f"failed task {task} becomes a dead letter", hdel(after, tag)
            counts = task not in s.waiting
            if counts and entry.message.count + 1 >= self.limit and self.mutant != "no limit":
                half = self._bury(s, entry)
                if self.mutant == "bury removes first":
                    half = hdel(s, tag)
                if half != s:
                    yield f"the letter of task {task} is stored, its burial interrupted", half
                yield f"task {task} is buried", self._told(self._bury(s, entry), entry)
                continue
            if self.mutant == "return removes first":
                yield f"task {task} is removed, not yet returned", hdel(s, tag)
            counted = counts and self.mutant != "return does not count"
            yield f"task {task} is returned", self._return(s, entry, counted=counted)

    def forget(self, s: State) -> Iterator[Step]:
        """recovery._FORGET: a buried owner that has no messages left."""
        held = {e.owner for e in s.taken}
        for owner in s.buried if living(s) else ():
            if owner not in held or self.mutant == "forget an owner with messages":
                yield "a buried owner is forgotten", s._replace(buried=s.buried - {owner})

    # The protocol takes the STEPS by itself. The actions OUTSIDE, such as the start of a worker, may
    # never happen.
    STEPS = (
        send, take, hear, begin, end_task, end_call, flush, give_back, fail, refuse, due,
        lease_ends, find_lost, return_next, forget, lose,
    )  # fmt: skip
    OUTSIDE = (kill, start, retry, cancel)

    # --- what must hold ---

    def broken(self, s: State) -> str:
        """Which promise this state breaks, or "" ."""
        messages = [*s.queue, *(e.message for e in s.taken)]
        again = self.faults.retries - s.left.retries  # a retried letter is a second message
        for task in range(s.sent):
            copies = sum(m.task == task for m in messages)
            if not copies and task not in s.dead and s.outcomes[task] != SUCCESS:
                return f"task {task} is lost"
            if copies > 1 + again:
                return f"task {task} is in two places"
            if s.answers[task] > 1 + again:
                return f"call {task} is answered twice"
        for message in messages:
            if message.losses >= self.limit:
                return f"task {message.task} was lost {message.losses} times and is no dead letter"
            if message.count != message.losses:
                return f"task {message.task} counts {message.count} of {message.losses} losses"
        if self.in_order and [m.task for m in s.queue] != sorted(m.task for m in s.queue):
            return "the queue is out of order"
        return ""

    def is_done(self, s: State) -> bool:
        """Every task has been sent and has ended, or is a dead letter; Redis holds nothing else."""
        return s.sent == self.tasks and not s.queue and not s.taken

    def must_go_on(self, s: State) -> bool:
        """Whether this state must be able to reach the end: a worker lives."""
        return any(s.workers)

    # --- fewer states ---

    def canonical(self, s: State) -> State:
        """The same state for all that differ only by which worker, owner or number is which.

        Names and numbers are unique and never used again, so only their order, and the numbers that
        a repeated take would look for, can matter. A former owner that holds nothing is dropped.
        """
        workers = s.workers
        if self.symmetry and len(workers) > 1:
            workers = tuple(sorted(workers, key=lambda w: _shape(s, w)))
        held = {e[:2] for e in s.taken}
        order = {w.name: at for at, w in enumerate(w for w in workers if w)}
        present = order.keys() | {owner for owner, _ in held}
        # An acknowledgement of what is not recorded does nothing, now and later.
        void = {
            ack
            for w in workers
            if w
            for ack in (w.acks | w.reply[2] if w.reply else w.acks)
            if ack not in held
        }
        if self.mutant:
            void = set()  # a mutant may use a name again
        numbers = _ranks(s, void)
        former = {owner for owner, _ in numbers} - order.keys()
        former |= {w.reply[0] for w in workers if w and w.reply} - order.keys()
        if former:
            shapes = sorted((_owner_shape(s, workers, owner), owner) for owner in former)
            order.update({owner: len(order) + at for at, (_, owner) in enumerate(shapes)})

        def tag(pair):
            return (order[pair[0]], numbers[pair])

        def worker(w):
            if w is None:
                return None
            reply = w.reply
            if reply:
                name, answer, along = reply
                if answer != LOST_LEASE:
                    answer = tuple((numbers[name, number], m) for number, m in answer)
                reply = (order[name], answer, frozenset(map(tag, along - void)))
            jobs = frozenset(Job(*tag(j[:2]), j.task, j.phase) for j in w.jobs)
            acks = frozenset(map(tag, w.acks - void))
            return Worker(order[w.name], numbers[w.name, w.next], w.again, reply, jobs, acks)

        return s._replace(
            names=frozenset(order[owner] for owner in s.names & present),
            buried=frozenset(order[owner] for owner in s.buried & present),
            taken=frozenset(Entry(*tag(e[:2]), e.message) for e in s.taken),
            workers=tuple(map(worker, workers)),
        )


def _jobs(s: State, phase: str) -> Iterator[tuple[int, Worker, Job]]:
    return ((at, w, job) for at, w in living(s) for job in w.jobs if job.phase == phase)


def _tags(s: State) -> Iterator[tuple[int, int]]:
    """Every (owner, number) that any part of the state names."""
    for e in s.taken:
        yield e[:2]
    for _, w in living(s):
        yield w.name, w.next
        yield from w.acks
        for job in w.jobs:
            yield job[:2]
        if w.reply:
            name, answer, along = w.reply
            yield from along
            if answer != LOST_LEASE:
                yield from ((name, number) for number, _ in answer)


def _owners(s: State) -> set[int]:
    replied = {w.reply[0] for _, w in living(s) if w.reply}
    return s.names | s.buried | replied | {owner for owner, _ in _tags(s)}


def _ranks(s: State, void: set) -> dict[tuple[int, int], int]:
    """Small numbers in the same order; those from the next one on keep their distance to it."""
    following = {w.name: w.next for _, w in living(s)}
    ranks: dict[tuple[int, int], int] = {}
    before: dict[int, int] = {}
    for owner, number in sorted(set(_tags(s)) - void):
        start = following.get(owner)
        if start is not None and number > start:
            ranks[owner, number] = ranks[owner, start] + number - start
        else:
            ranks[owner, number] = before.get(owner, 0)
            before[owner] = ranks[owner, number] + 1
    return ranks


def _shape(s: State, w: Worker | None) -> tuple:
    """Return a worker's memory and entries without owner names, to sort the workers by."""
    if w is None:
        return ()
    held = sorted((e.number - w.next, e.message) for e in s.taken if e.owner == w.name)
    jobs = sorted((j.owner != w.name, j.task, j.phase) for j in w.jobs)
    reply = ()
    if w.reply:
        name, answer, along = w.reply
        messages = [] if answer == LOST_LEASE else [m for _, m in answer]
        reply = (name != w.name, answer == LOST_LEASE, messages, len(along))
    acks = sorted((owner != w.name, number - w.next) for owner, number in w.acks)
    return (w.name in s.names, w.again, held, jobs, reply, acks)


def _owner_shape(s: State, workers: tuple, owner: int) -> tuple:
    """Return a former owner's entries and jobs without owner names; `workers` are sorted."""
    held = sorted((e.number, e.message) for e in s.taken if e.owner == owner)
    known = [
        (
            sorted(j[1:] for j in w.jobs if j.owner == owner),
            sorted(a for a in w.acks if a[0] == owner),
        )
        for w in workers
        if w
    ]
    return (
        owner in s.names,
        owner in s.buried,
        [m for _, m in held],
        [(j, len(a)) for j, a in known],
    )


def _tasks(answer: tuple | int) -> str:
    if answer == LOST_LEASE:
        return "nothing: its lease is lost"
    return _named([message.task for _, message in answer])


def _held(s: State, owner: int) -> str:
    return _named(sorted(e.message.task for e in s.taken if e.owner == owner))


def _named(tasks: list[int]) -> str:
    return (
        ("task " if len(tasks) == 1 else "tasks ") + ", ".join(map(str, tasks))
        if tasks
        else "nothing"
    )

"""Processes and what they share, as a script uses them that knows the standard library only."""

import queue
import sys
from multiprocessing import (
    Array,
    Barrier,
    Condition,
    Event,
    JoinableQueue,
    Lock,
    Manager,
    Pipe,
    Process,
    Queue,
    Value,
    active_children,
    current_process,
    parent_process,
)


class Crier(Process):
    def __init__(self, news):
        super().__init__()
        self.news = news

    def run(self):
        print(self.name, "cries", self.news)


class Till:
    def __init__(self, orders, lock):
        self.orders, self.lock = orders, lock

    def serve(self, total):
        for order in iter(self.orders.get, "closed"):
            with self.lock:
                total.value += order
            self.orders.task_done()
        self.orders.task_done()


def introduce(word):
    print(word, current_process().name, parent_process().name, current_process().daemon)


def family(answers):
    import multiprocessing

    inside = multiprocessing.Queue()
    child = Process(target=answer, args=(inside, 6))
    child.start()
    print([one.name for one in active_children()])
    answers.put(inside.get() + 1)
    child.join()


def answer(questions, number):
    questions.put(number * 7)


def talk(end):
    end.send([end.recv(), "heard"])
    end.close()


def change(number, numbers, shared, names):
    number.value = 2.5
    for index in range(len(numbers)):
        numbers[index] += 1
    shared["list"].append("child")
    names.last = "child"


def start_together(barrier, started, done):
    barrier.wait()
    started.wait()
    with done:
        done.notify_all()


def leave(code):
    sys.exit(code)


def together(*processes):
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


if __name__ == "__main__":
    print(together(Crier("hear, hear"), Process(target=introduce, args=("I am",), name="Ann")))
    print(together(Process(target=introduce, args=("I am",), daemon=True)))

    orders, total, lock = JoinableQueue(), Value("i", 0), Lock()
    tills = [Process(target=Till(orders, lock).serve, args=(total,)) for _ in range(2)]
    for till in tills:
        till.start()
    for number in range(20):
        orders.put(number)
    for _ in tills:
        orders.put("closed")
    orders.join()
    print(total.value, [till.join() for till in tills])

    answers = Queue()
    parent = Process(target=family, args=(answers,))
    parent.start()
    print(answers.get())
    parent.join()
    print(parent.exitcode)

    here, there = Pipe()
    child = Process(target=talk, args=(there,))
    child.start()
    here.send({"a": (1, 2)})
    print(here.recv())
    child.join()

    with Manager() as manager:
        number, numbers = Value("d", 0.5), Array("i", [1, 2, 3])
        shared, names = manager.dict(), manager.Namespace(first="me")
        shared["list"] = manager.list(["parent"])
        print(together(Process(target=change, args=(number, numbers, shared, names))))
        print(number.value, numbers[:], list(shared["list"]), names)

    barrier, started, done = Barrier(3), Event(), Condition()
    pair = [Process(target=start_together, args=(barrier, started, done)) for _ in range(2)]
    for one in pair:
        one.start()
    barrier.wait()
    with done:
        started.set()
        print(done.wait(20))
    print([one.join() for one in pair])

    small = Queue(1)
    try:
        small.get(timeout=0.05)
    except queue.Empty:
        print("empty")
    small.put(1)
    try:
        small.put(2, timeout=0.05)
    except queue.Full:
        print("full")
    print(small.get())

    print(together(*(Process(target=leave, args=(code,)) for code in (None, 0, 3, "a reason"))))

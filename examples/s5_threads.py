"""S5: nine threads move nine items. `choice` and `remove` are two steps, so it is a race.

The pause between the two steps stands for whatever a real program does there. First the
race, then two cures: a lock around both steps, and a queue, whose `get` is one step.
"""

import queue
import random
import threading
import time

ITEMS = ["1", "2", "3", "4", "5", "6", "7", "8", "9"]


class Racing:
    def __init__(self):
        self.old_list, self.new_list = list(ITEMS), []

    def work(self):
        item = random.choice(self.old_list)
        time.sleep(0.01)
        try:
            self.old_list.remove(item)
        except ValueError:
            pass  # another thread was quicker, and both now think that they moved it
        self.new_list.append(item)
        time.sleep(1)


class Locked(Racing):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def work(self):
        with self.lock:
            item = random.choice(self.old_list)
            time.sleep(0.01)
            self.old_list.remove(item)
            self.new_list.append(item)
        time.sleep(1)


class Queued(Racing):
    def __init__(self):
        super().__init__()
        self.queue = queue.Queue()
        for item in ITEMS:
            self.queue.put(item)

    def work(self):
        item = self.queue.get()
        time.sleep(0.01)
        self.old_list.remove(item)
        self.new_list.append(item)
        time.sleep(1)


def move(how):
    threads = [threading.Thread(target=how.work, name="work-th") for _ in ITEMS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return how.old_list, how.new_list


if __name__ == "__main__":
    for name, how in (("race", Racing()), ("lock", Locked()), ("queue", Queued())):
        started = time.time()
        old_list, new_list = move(how)
        print(f"{name}: old_list: {old_list} new_list: {new_list}")
        print("执行时间:", time.time() - started)

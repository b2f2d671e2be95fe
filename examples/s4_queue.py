"""S4: processes talk through a queue: one message, then an endless stream. Ctrl-C ends it."""

import multiprocessing
import time


class Work:
    def __init__(self, q):
        self.q = q

    def send(self, message):
        self.q.put(message)

    def receive(self):
        while True:
            print("接受到值", self.q.get(), flush=True)

    def sendall(self):
        i = 0
        while True:
            i += 1
            self.q.put(i)
            time.sleep(1)


if __name__ == "__main__":
    work = Work(multiprocessing.Queue())
    send = multiprocessing.Process(target=work.send, args=("你好",))
    send.start()
    receive = multiprocessing.Process(target=work.receive)
    receive.start()
    sendall = multiprocessing.Process(target=work.sendall)
    sendall.start()
    sendall.join()

"""Changes its worker's process, as its first argument says."""

import gc
import json
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from decimal import getcontext
from multiprocessing import Pool

COUNT = []


def go_on():
    time.sleep(600)


def spoil(how):
    COUNT.append(how)
    if how == "folder":
        os.chdir("/")
    elif how == "environment":
        os.environ["SPOILT"], os.environ["TZ"] = "yes", "Asia/Tokyo"
        time.tzset()
    elif how == "log":
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
        logging.getLogger("mine").addHandler(logging.StreamHandler(sys.stdout))
        logging.disable(logging.CRITICAL)
    elif how == "warnings":
        warnings.simplefilter("error")
    elif how == "signals":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    elif how == "interpreter":
        sys.setrecursionlimit(5000)
        sys.set_int_max_str_digits(0)
        sys.path.insert(0, "/nowhere")
        sys.excepthook = print
        socket.setdefaulttimeout(3)
        os.umask(0)
        gc.disable()
    elif how == "numbers":
        getcontext().prec = 3
        locale.setlocale(locale.LC_ALL, "C")
    elif how == "library":
        os.getcwd = json.dumps = print
    elif how == "limits":
        # It cannot be raised again.
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))
    elif how == "thread":
        threading.Thread(target=go_on, daemon=True).start()
    time.sleep(0.3)
    return os.getpid()


if __name__ == "__main__":
    with Pool() as pool:
        print(len(set(pool.map(spoil, [sys.argv[1]] * 24, chunksize=1))))

"""Changes its worker's process, as its first argument says."""

import gc
import locale
import logging
import os
import signal
import socket
import sys
import time
import warnings
from decimal import getcontext
from multiprocessing import Pool

COUNT = []


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
        time.sleep, time.slept = (lambda seconds: None), time.sleep
    getattr(time, "slept", time.sleep)(0.3)
    return os.getpid()


if __name__ == "__main__":
    with Pool() as pool:
        print(len(set(pool.map(spoil, [sys.argv[1]] * 24, chunksize=1))))

"""Says how its workers' processes are; each twice, as a script's second call finds them."""

import gc
import json
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


def look(_):
    COUNT.append(1)
    time.sleep(0.2)
    return [
        os.getcwd(),
        sorted(os.environ),
        time.tzname,
        [repr(type(handler)) for handler in logging.root.handlers],
        logging.root.level,
        logging.getLogger("mine").handlers == [],
        logging.root.manager.disable,
        len(warnings.filters),
        repr(signal.getsignal(signal.SIGUSR1)),
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        "/nowhere" in sys.path,
        sys.excepthook is print,
        socket.getdefaulttimeout(),
        os.umask(0o22),
        gc.isenabled(),
        getcontext().prec,
        locale.setlocale(locale.LC_ALL),
        any("spoiling" in name for name in sys.modules),
    ]


if __name__ == "__main__":
    with Pool() as pool:
        found = pool.map(look, range(24), chunksize=1)
    print(*sorted({json.dumps(one) for one in found}), sep="\n")

"""Local processes for the tests of handles."""

import multiprocessing

fork = multiprocessing.get_context("fork")
spawn = multiprocessing.get_context("spawn")


def start(context, target, *args):
    process = context.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def join(*processes, within_s=30):
    for process in processes:
        process.join(within_s)
        assert process.exitcode is not None, "a process hangs"

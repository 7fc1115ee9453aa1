"""Kill a process at a random moment of its work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Sequence

import numpy as np


def in_fresh_process(checks: Callable[..., None], *args: object) -> None:
    """Run checks that fork in a new process; fail where they fail.

    The process of the tests has threads, whose locks no fork frees, and a large memory, which
    makes forks slow.

    Args:
        checks: A function of a module, not one within another.
        args: Its arguments; they can be pickled.
    """
    process = multiprocessing.get_context("spawn").Process(target=checks, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0, "the traceback is among what the test printed to stderr"


def killed(work: Callable[[], object], within: float, moments: np.random.Generator) -> bool:
    """Run a function in a forked process, which is killed by SIGKILL; return whether it was.

    Args:
        work: The function; it had better use files alone.
        within: Seconds after its start within which it is killed; it may end before.
        moments: Source of the moment.
    """
    process = begun(work)
    time.sleep(moments.uniform(0, within))
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def forked_seconds(work: Callable[[], object]) -> float:
    """Return how long a function takes in a forked process.

    That is longer than here: a process that was forked copies each page of memory that it changes.
    """
    process = begun(work)
    began = time.monotonic()
    _, status = os.waitpid(process, 0)
    assert status == 0
    return time.monotonic() - began


def statuses(processes: Sequence[int], within: float) -> list[int]:
    """Return the wait statuses of forked processes; those that take longer are killed.

    Args:
        processes: Their numbers.
        within: Seconds from now.
    """
    deadline = time.monotonic() + within
    found = []
    for process in processes:
        ended, status = os.waitpid(process, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
            ended, status = os.waitpid(process, os.WNOHANG)
        if not ended:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
        found.append(status)
    return found


def begun(work: Callable[[], object]) -> int:
    """Fork a process that runs a function; return its number when the function begins.

    A fork alone can take longer than the work: its time must not count.
    """
    ready, begin = os.pipe()
    with warnings.catch_warnings():
        # A lock that another thread holds would be held for ever in the new process.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        process = os.fork()
    if process == 0:
        status = 1
        try:
            os.write(begin, b".")
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(begin)
    os.read(ready, 1)
    os.close(ready)
    return process

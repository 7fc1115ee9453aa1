"""Kill a process at a random moment of its work."""

from __future__ import annotations

import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable

import numpy as np


def killed(work: Callable[[], object], within: float, moments: np.random.Generator) -> bool:
    """Run a function in a forked process, which is killed by SIGKILL; return whether it was.

    Args:
        work: The function; it had better use files alone.
        within: Seconds after its start within which it is killed; it may end before.
        moments: Source of the moment.
    """
    with warnings.catch_warnings():
        # A lock that another thread holds would be held for ever in the new process.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    time.sleep(moments.uniform(0, within))
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL

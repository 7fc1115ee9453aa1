"""``valueeval run ARGS``: ``lm_eval run ARGS`` with our tasks and models registered.

For environments where the start-up hook does not run: switched off, or installed with ``--target``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from valueeval.registration import register


def main(argv: Sequence[str]) -> int:
    """Pass ``argv`` to lm-eval's command line; errors and exit status are lm-eval's."""
    from lm_eval.__main__ import cli_evaluate

    register()
    before = sys.argv
    sys.argv = ["lm-eval", "run", *argv]  # lm-eval reads no other argument list
    try:
        cli_evaluate()
    finally:
        sys.argv = before
    return 0

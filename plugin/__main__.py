"""``python -m valueeval``: the same as the ``valueeval`` command."""

import sys

from valueeval.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Measure what the package costs at interpreter start and for ``valueeval --help``.

Usage: ``python benchmarks/startup.py [--rounds 100]``

Each round starts two programs, one with and one without what is measured, in changing order; the
difference in seconds is one observation. Prints the median and the middle 90 %.

- start-up hook: a Python that processes a folder with the hook's two files, against an empty one;
- ``valueeval --help`` against a Python that does nothing.
"""

from __future__ import annotations

import argparse
import compileall
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

STARTUP = Path(__file__).resolve().parents[1] / "plugin" / "startup"
COMMAND = Path(sys.executable).with_name("valueeval")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as scratch:
        empty, hooked = Path(scratch, "empty"), Path(scratch, "hooked")
        empty.mkdir()
        shutil.copytree(STARTUP, hooked)
        compileall.compile_dir(hooked, quiet=1)  # as pip does on installing
        report("start-up hook", site_folder(hooked), site_folder(empty), rounds, limit=0.002)
    bare = [sys.executable, "-c", "pass"]
    report("valueeval --help", [str(COMMAND), "--help"], bare, rounds, limit=0.100)


def site_folder(folder: Path) -> list[str]:
    """A Python that treats ``folder``, and nothing else, as site-packages."""
    return [sys.executable, "-I", "-S", "-c", f"import site; site.addsitedir({str(folder)!r})"]


def report(name: str, program: list[str], base: list[str], rounds: int, *, limit: float) -> None:
    """Prints how much longer ``program`` takes than ``base``, beside the limit in seconds."""
    seconds(program), seconds(base)  # the first run fills caches
    differences = []
    for number in range(rounds):
        if number % 2:
            differences.append(seconds(program) - seconds(base))
        else:
            differences.append(-seconds(base) + seconds(program))
    low, *_, high = statistics.quantiles(differences, n=20)
    median = statistics.median(differences)
    print(
        f"{name}: {1000 * median:.2f} ms (middle 90 %: {1000 * low:.2f} to {1000 * high:.2f}; "
        f"{rounds} rounds; limit {1000 * limit:.0f} ms)"
    )


def seconds(program: list[str]) -> float:
    """Return how long ``program`` runs, in seconds."""
    start = time.perf_counter()
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""Measure how the cost of ``valueeval predict --engine ray`` grows with the number of texts.

Usage: ``python benchmarks/predict_ray.py ADAPTER [--rows 10000 100000 1000000] [--words 12]``

For each number a folder of Parquet files (50,000 rows in each, row groups of 10,000) with made-up
texts is labelled by one command, in a process of its own, on a Ray that starts for it and stops
with it. Printed: seconds from the command to the last file (of one text first, which is the start
of all), texts a second, and the most memory that all processes of the command held at a moment,
with shared pages counted once (proportional set size), looked at twice a second.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import parquet
from tqdm import tqdm

FILE_ROWS, GROUP_ROWS = 50_000, 10_000
TEXT = (
    "people should protect nature because children deserve clean air and the law must serve "
    "everyone who works hard for a safe home in a free country with old customs"
)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("adapter")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--words", type=int, default=12, help="of a text")
    options = parser.parse_args()
    print(f"{options.adapter}, texts of {options.words} words\n")
    print("| texts | seconds | texts a second | peak memory, GiB |")
    print("| --: | --: | --: | --: |")
    for rows in (1, *options.rows):
        seconds, peak = label(options.adapter, rows, options.words)
        rate = f"{rows / seconds:,.0f}" if rows > 1 else ""
        print(f"| {rows:,} | {seconds:.0f} | {rate} | {peak / 2**30:.2f} |", flush=True)


def label(adapter: str, rows: int, words: int) -> tuple[float, int]:
    """Label made-up texts; return the seconds and the peak memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "texts", Path(folder) / "labelled"
        write_texts(source, rows, words)
        command = [sys.executable, "-m", "valueeval", "predict", str(source), "--engine", "ray"]
        command += ["-o", str(out), "--adapter", adapter]
        with (Path(folder) / "log").open("w+") as log:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
            peak = max(memory(process), default=0)
            seconds = time.perf_counter() - began
            if process.returncode:
                log.seek(0)
                sys.exit(log.read())
        written = sum(parquet.read_metadata(file).num_rows for file in out.rglob("*.parquet"))
        if written != rows:
            sys.exit(f"{written} of {rows} texts were written")
        shutil.rmtree(out)
    return seconds, peak


def write_texts(folder: Path, rows: int, words: int) -> None:
    """Write Parquet files of texts of words drawn from a text."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for first in tqdm(range(0, rows, FILE_ROWS), desc="texts", leave=False, disable=None):
        drawn = rng.choice(TEXT.split(), (min(FILE_ROWS, rows - first), words))
        table = pa.table({"text": [" ".join(one) for one in drawn]})
        parquet.write_table(table, folder / f"{first:09}.parquet", row_group_size=GROUP_ROWS)


def memory(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """Yield the bytes that a process and all under it hold, until it ends."""
    while process.poll() is None:
        held = 0
        for one in psutil.Process().children(recursive=True):
            try:
                held += one.memory_full_info().pss
            except psutil.Error:  # it has ended
                continue
        yield held
        time.sleep(0.5)


if __name__ == "__main__":
    main()

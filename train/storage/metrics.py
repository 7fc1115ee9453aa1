"""``metrics.jsonl``: a line for each epoch, in the run's folder and later in the adapter's.

Lines of a contrastive stage come first and have ``"stage": "contrastive"``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from valueeval.train.storage.atomic_writing import write_text, writing

METRICS_FILE = "metrics.jsonl"


def append_metrics(folder: Path, line: Mapping[str, Any]) -> None:
    """Append a line, which has a ``step``.

    Raises:
        ValueEvalError: It cannot be written.
    """
    with writing(folder), (folder / METRICS_FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, allow_nan=False) + "\n")


def copy_metrics(stages: Sequence[Path], adapter: Path) -> None:
    """Write the lines of a run's stages into its adapter, in the order of the stages.

    Raises:
        OSError: They cannot be read or written.
    """
    files = [stage / METRICS_FILE for stage in stages]
    lines = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    write_text("".join(lines), adapter / METRICS_FILE)


def forget_metrics_after(folder: Path, step: int) -> None:
    """Remove the lines that a killed run wrote after its last checkpoint.

    Raises:
        ValueEvalError: It cannot be written.
    """
    path = folder / METRICS_FILE
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError, TypeError, KeyError):  # cut off in the middle of writing
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
    write_text("".join(kept), path)

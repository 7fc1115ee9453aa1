"""Small data for training in tests."""

from __future__ import annotations

from pathlib import Path

from valueeval.tasks.data import load_set


def write_small_data(folder: Path, training: int, validation: int) -> Path:
    """The beginning of the sample set, as a folder of one's own in the official format."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in (("training", training), ("validation", validation)):
        for kind in ("arguments", "labels"):
            source = load_set("sample").directory / f"{kind}-sample-{split}.tsv"
            lines = source.read_text("utf-8").splitlines(keepends=True)[: 1 + size]
            (folder / f"{kind}-{split}.tsv").write_text("".join(lines), "utf-8")
    return folder

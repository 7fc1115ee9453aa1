"""Finds results files of lm-eval and run files of the shared task in what a user names."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from valueeval.leaderboard.reading.runs import RUN_FILE
from valueeval.leaderboard.text import clean
from valueeval.tasks.data.dataset import LABEL_COLUMNS
from valueeval.tasks.errors import ValueEvalError

# What lm-eval appends to the name of a results file (`EvaluationTracker.date_id`).
DATE_IN_NAME = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.json$")
# Tables of the same format as run files that are none: the data's own, and an archive's samples.
_NO_RUN_FILES = ("arguments", "labels", "samples_")


@dataclass(frozen=True)
class File:
    """A file to read.

    Attributes:
        path: The file.
        source: Its name in everything that is written: below the folder that was given, with as
            many folders above as tell it from others.
    """

    path: Path
    source: str


def find_results(places: Sequence[str | Path]) -> list[File]:
    """Return every results file in `places`, as :func:`find_files` does.

    Raises:
        ValueEvalError: A place does not exist, or there is no results file anywhere.
    """
    results, run_files = find_files(places)
    if run_files and not results:
        raise ValueEvalError(
            f"{run_files[0].path}: a run file, not results of lm-eval; `valueeval leaderboard` "
            "ranks run files, `valueeval compare --labels TSV` compares them"
        )
    return results


def find_files(places: Sequence[str | Path]) -> tuple[list[File], list[File]]:
    """Return the results files and the run files in `places`, each once, sorted.

    A place is a file, or a folder that is searched to any depth; links to folders are not followed.
    In a folder, a results file is called ``results*.json`` or has a name that ends in the date that
    lm-eval appends (``--output_path NAME.json``). A run file is a ``.tsv`` file whose header begins
    with ``Argument ID``, with no results file beside it; ``arguments*``, ``labels*`` and
    ``samples_*`` are not.

    Raises:
        ValueEvalError: A place does not exist, or there is nothing to read anywhere.
    """
    results: dict[Path, File] = {}
    run_files: dict[Path, File] = {}
    for place in map(Path, places):
        if place.is_file():
            found = run_files if place.suffix == RUN_FILE else results
            found.setdefault(place.resolve(), File(place, clean(place.name)))
        elif place.is_dir():
            for path in _walk(place):
                source = Path(place.resolve().name) / path.relative_to(place)
                found = run_files if path.suffix == RUN_FILE else results
                found.setdefault(path.resolve(), File(path, clean(source.as_posix())))
        else:
            raise ValueEvalError(
                f"{place}: no such file or folder; give the --output_path of lm_eval"
            )
    if places and not (results or run_files):
        raise ValueEvalError(_nothing_in(places))
    return _in_order(results), _in_order(run_files)


def _in_order(files: dict[Path, File]) -> list[File]:
    named = _told_apart(files)
    return sorted(named, key=lambda file: (file.source, str(file.path)))


def _told_apart(files: dict[Path, File]) -> list[File]:
    """Return files whose sources differ: those of one name have more of their folders in it."""
    same: dict[str, list[tuple[Path, File]]] = defaultdict(list)
    for path, file in files.items():
        same[file.source].append((path, file))
    named = []
    for source, found in same.items():
        parts = source.count("/") + 1
        while len({path.parts[-parts:] for path, _ in found}) < len(found):
            parts += 1
        named += [
            replace(file, source=clean(Path(*path.parts[-parts:]).as_posix()))
            if len(found) > 1
            else file
            for path, file in found
        ]
    return named


def _walk(folder: Path) -> Iterator[Path]:
    """Yield results and run files below a folder, and folders that cannot be listed."""
    closed: list[str] = []
    for parent, _, names in os.walk(folder, onerror=lambda error: closed.append(error.filename)):
        results = [name for name in names if _is_results(name)]
        if results:
            yield from (Path(parent, name) for name in results)
        else:
            yield from (path for name in names if _is_run_file(path := Path(parent, name)))
    yield from map(Path, closed)


def _is_results(name: str) -> bool:
    return name.endswith(".json") and (
        name.startswith("results") or DATE_IN_NAME.search(name) is not None
    )


def _is_run_file(path: Path) -> bool:
    if path.suffix != RUN_FILE or path.name.startswith(_NO_RUN_FILES) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return True  # reading it says why it cannot be read
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip(b'"')
    return start.startswith(LABEL_COLUMNS[0].encode())


def _nothing_in(places: Sequence[str | Path]) -> str:
    return (
        f"no lm-eval results in {', '.join(map(str, places))}: looked for results_*.json; run "
        "lm_eval with --output_path FOLDER and give that folder"
    )

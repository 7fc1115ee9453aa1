"""The output directory: what may be there before a run, and how the adapter gets there whole.

While it trains, a run lives in ``OUTPUT.training``; the adapter is put together in there and then
renamed to ``OUTPUT``, so that an ``OUTPUT`` that exists is finished.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from valueeval.adapters.manifest import MANIFEST_FILE, read_manifest
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.checkpoint import write_json, writing
from valueeval.train.processes import Processes

_RUN_FILE = "run.json"
_LOCK = "lock"
_ADAPTER = "adapter"


def work_folder(output: Path) -> Path:
    """Where a run lives while it trains."""
    return output.with_name(output.name + ".training")


def is_finished(output: Path, recipe: Mapping[str, Any], resume: bool) -> bool:
    """Whether the run that is to be resumed has already ended and left its adapter.

    Raises:
        ValueEvalError: The directory holds something else, which is not touched.
    """
    if not output.exists():
        return False
    if not output.is_dir():
        raise ValueEvalError(f"--output {output} is a file; name a directory that is not there yet")
    if not any(output.iterdir()):
        return False
    if not (output / MANIFEST_FILE).exists():
        raise ValueEvalError(
            f"--output {output} holds other files; name a directory that is not there yet"
        )
    if not resume:
        raise ValueEvalError(
            f"--output {output} already holds a finished adapter: choose another --output, "
            "or remove it first"
        )
    differences = _differences(read_manifest(output).config, recipe)
    if differences:
        raise ValueEvalError(
            f"--output {output} already holds an adapter of another run ({differences}): "
            "choose another --output, or remove it first"
        )
    shutil.rmtree(work_folder(output), ignore_errors=True)
    return True


@contextmanager
def run_folder(
    output: Path, run: Mapping[str, Any], resume: bool, processes: Processes
) -> Iterator[Path]:
    """Opens the folder of a run, new or to be resumed, and keeps other runs out of it.

    Args:
        output: Where the adapter will be.
        run: What the result depends on: the recipe, the hashes of data and base model.
        resume: Whether to go on with what is there.
        processes: Those of the run.

    Raises:
        ValueEvalError: It holds another run, an unfinished one that is not to be resumed, one
            that a process is working on, or it cannot be written.
    """
    work = work_folder(output)
    with ExitStack() as held:
        with processes.together():
            if processes.is_main:
                held.enter_context(_lock(work))
                _claim(work, run, resume)
        try:
            yield work
        except ValueEvalError:
            # Refused before it began: the next try, with other options, must find nothing here.
            only = {_RUN_FILE, _LOCK}
            if processes.is_main and {path.name for path in work.iterdir()} == only:
                shutil.rmtree(work, ignore_errors=True)
            raise


def _lock(work: Path) -> IO[str]:
    """A file that is locked while it is open."""
    with writing(work.parent):
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / _LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ValueEvalError(f"{work}: another process is training there") from None
    return lock


def _claim(work: Path, run: Mapping[str, Any], resume: bool) -> None:
    path = work / _RUN_FILE
    if not path.exists():
        write_json(run, path)
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueEvalError(f"{path}: cannot be read ({error}); remove {work}") from error
    differences = _differences(_flat(there), _flat(run))
    if differences:
        raise ValueEvalError(
            f"{work} holds an unfinished run of another configuration ({differences}): "
            f"choose another --output, or remove {work} to give that run up"
        )
    if not resume:
        raise ValueEvalError(
            f"{work} holds an unfinished run of this configuration: add --resume to go on, "
            "or remove it to start again"
        )


@contextmanager
def new_adapter(work: Path, output: Path) -> Iterator[Path]:
    """A folder to put the adapter together in; renamed to the output when the block ends well."""
    folder = work / _ADAPTER
    shutil.rmtree(folder, ignore_errors=True)
    with writing(output.parent, partial=folder):
        folder.mkdir()
        yield folder
        _let_others_read(folder)
        folder.rename(output)
    shutil.rmtree(work, ignore_errors=True)


def _let_others_read(folder: Path) -> None:
    """Gives files the rights that the user's umask allows: safetensors writes them as 0600.

    On a shared cluster a colleague could otherwise read the manifest but not the weights.
    """
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~umask)


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat.update(value if isinstance(value, dict) else {key: value})
    return flat


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Which options differ, in words: ``epochs 8 there, 3 here``."""
    return ", ".join(
        f"{name} {there.get(name)!r} there, {here.get(name)!r} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    )

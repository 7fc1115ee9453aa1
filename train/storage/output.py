"""The output directory and the run's folder: what they may hold, and how an adapter is finished.

While it trains, a run lives in ``OUTPUT.training``; the adapter is put together in there and then
renamed to ``OUTPUT``, so that an ``OUTPUT`` that exists is finished.

The file ``run.json.finished`` is written just before that rename. Where it stands without the
adapter beside it, the rename has happened and what is left is to be removed. The file goes last, so
a removal that was killed half way is recognised, whatever it has left.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_manifest
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import DEFAULT_CHOICES, TrainConfig
from valueeval.train.config.renamed import current
from valueeval.train.runtime.processes import Processes
from valueeval.train.runtime.progress import note
from valueeval.train.storage.atomic_writing import write_json, writing
from valueeval.train.storage.checkpoint import newest_step

_RUN_FILE = "run.json"
_LOCK = "lock"
_ADAPTER = "adapter"
_FINISHED = "run.json.finished"
# Options that a run may be resumed with in another form. A base model and a teacher can have many
# names, but their hashes are compared. Fewer tokens at once are the cure for too little memory: the
# steps stay what they are, but for rounding and the noise of dropout.
_FREE_TO_CHANGE = ("name", "base", "revision", "teacher", "max_tokens_per_microbatch")
_PATIENCE = 30.0  # seconds until a file that another machine has made must be seen


def work_folder(output: Path) -> Path:
    """Return the folder of a run while it trains."""
    return output.with_name(output.name + ".training")


def check_name(output: Path) -> None:
    """Raise an error if an output's name, or that of its run's folder, is too long for a file.

    Raises:
        ValueEvalError: The file system takes no such name.
    """
    try:
        os.stat(work_folder(output))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueEvalError(
                f"--output {output}: this name is too long for a folder; it must stay short enough "
                "with .training at its end, where the run lives while it trains"
            ) from error


def is_finished(output: Path, recipe: Mapping[str, Any], resume: bool) -> bool:
    """Return True if a run to be resumed has finished and left its adapter.

    Raises:
        ValueEvalError: The adapter cannot be put there: the directory holds something else, which
            is not touched, or is a link.
    """
    if output.exists() and not output.is_dir():
        raise ValueEvalError(
            f"--output {output} is a file; name a directory that does not exist yet"
        )
    if not output.exists() or not any(output.iterdir()):
        if output.is_symlink() or output.is_mount():
            raise ValueEvalError(
                f"--output {output} is a link or the root of a disk, which the adapter's directory "
                "cannot replace: name a directory inside it that does not exist yet"
            )
        return False
    if not (output / MANIFEST_FILE).exists():
        raise ValueEvalError(
            f"--output {output} holds other files; name a directory that does not exist yet"
        )
    if not resume:
        raise ValueEvalError(
            f"--output {output} already holds a finished adapter: choose another --output, "
            "or remove it first"
        )
    there = read_manifest(output).config
    _refuse_other_run(output, _differences(there, recipe, _FREE_TO_CHANGE))
    return True


def earlier_recipe(output: Path) -> Mapping[str, Any]:
    """Return the recipe of the finished or interrupted run there; empty without one."""
    if (output / MANIFEST_FILE).is_file():
        return read_manifest(output).config
    recipe = (_read_run(work_folder(output) / _RUN_FILE) or {}).get("config")
    return recipe if isinstance(recipe, dict) else {}


def finished_adapter(output: Path, run: Mapping[str, Any]) -> Manifest:
    """Return the manifest of a finished run that was to be resumed.

    Args:
        output: The adapter's directory.
        run: Recipe and hashes, as for `run_folder`.

    Raises:
        ValueEvalError: The adapter was trained on other data or another base model.
    """
    manifest = read_manifest(output)
    there = {
        "training_sha256": manifest.data.sha256,
        "validation_sha256": manifest.data.validation_sha256 or run["validation_sha256"],
        "base_sha256": manifest.base_model.sha256,
    }
    _refuse_other_run(output, _differences(there, {name: run[name] for name in there}))
    work = work_folder(output)
    if work.is_dir() and _is_a_runs(work):
        _remove(work)
    return manifest


def check_still_free(output: Path) -> None:
    """Raise an error if something has appeared where the adapter will be put.

    Raises:
        ValueEvalError: The output is a file or holds files; the run's own folder is kept.
    """
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise ValueEvalError(
            f"--output {output} has appeared while this run was training: move it away, then the "
            f"same command with --resume continues from {work_folder(output)}"
        )


def _refuse_other_run(output: Path, differences: str) -> None:
    if differences:
        raise ValueEvalError(
            f"--output {output} already holds an adapter of another run ({differences}): "
            "choose another --output, or remove it first"
        )


@contextmanager
def run_folder(
    output: Path, run: Mapping[str, Any], resume: bool, processes: Processes
) -> Iterator[Path]:
    """Open the folder of a run, new or to be resumed, and lock it against other runs.

    Args:
        output: The directory that the adapter will have.
        run: Recipe, and hashes of data and base model.
        resume: True to continue an interrupted run.
        processes: The processes of the run.

    Raises:
        ValueEvalError: The folder holds another run, an unfinished one that is not to be resumed,
            or one that a process is working on; or it cannot be written.
    """
    work = work_folder(output)
    with ExitStack() as held:
        with processes.together():
            if processes.is_main:
                _refuse_strangers(work)
                held.enter_context(_lock(work))
                _claim(work, run, resume)
                _check_same_disk(work)
        with processes.together():
            _check_shared(work)
        try:
            yield work
        except BaseException as error:
            kept = _worth_keeping(work)
            # Kept are checkpoints, and a teacher's answers, which took long to compute.
            if processes.is_main and not any(work.rglob("*.safetensors")):
                shutil.rmtree(work, ignore_errors=True)
            if isinstance(error, KeyboardInterrupt):
                note(
                    f"interrupted: the same command with --resume continues from {work}"
                    if kept
                    else "interrupted before the first checkpoint: the same command starts again"
                )
            raise


def _lock(work: Path) -> IO[str]:
    """Return a file that is locked while it is open."""
    while not _is_in(work, lock := _try_lock(work)):
        lock.close()  # of a folder that a run which has just ended has removed
    return lock


def _is_in(work: Path, lock: IO[str]) -> bool:
    """Return True if an open lock is the file that other runs would find in the folder."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (work / _LOCK).stat())
    except FileNotFoundError:
        return False


def _try_lock(work: Path) -> IO[str]:
    with writing(work.parent):
        while True:
            work.mkdir(parents=True, exist_ok=True)
            try:
                lock = (work / _LOCK).open("w")
                break
            except FileNotFoundError:  # removed since by a run that has just ended
                if work.is_symlink():
                    raise
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ValueEvalError(f"{work}: another process is training there") from None
    except OSError as error:  # a file system without locks: Lustre unless mounted with flock
        note(
            f"{work}: this file system has no locks ({error.strerror}), so make sure that no other "
            "run uses the same --output"
        )
    return lock


def _worth_keeping(work: Path) -> bool:
    """Return True if a run can be resumed: a stage of it has a checkpoint."""
    return any(newest_step(folder) for folder in (work, *work.glob("*/")))


def _refuse_strangers(work: Path) -> None:
    """Refuse a folder with files that no run has written, as it would be removed in the end."""
    if not work.is_dir() or _is_a_runs(work):
        return
    raise ValueEvalError(
        f"{work}, the folder of the run while it trains, holds other files: choose another "
        "--output, or move them"
    )


def _is_a_runs(work: Path) -> bool:
    """Return True if a run has made the folder, even if it was killed at its start."""
    names = {path.name for path in work.iterdir()}
    return bool({_RUN_FILE, _FINISHED} & names) or all(
        _RUN_FILE in name or name == _LOCK for name in names
    )


def _check_shared(work: Path) -> None:
    """Refuse a folder that the main process has created but this process does not see."""
    deadline = time.monotonic() + _PATIENCE
    while not (work / _RUN_FILE).is_file():
        if time.monotonic() > deadline:
            raise ValueEvalError(
                f"{work}: created by the main process, but another one does not see it: "
                "--output must be in a folder that all machines share"
            )
        time.sleep(0.1)


def _check_same_disk(work: Path) -> None:
    if work.stat().st_dev != work.parent.stat().st_dev:
        raise ValueEvalError(
            f"{work} is on another disk than {work.parent}, so the adapter could not be moved to "
            "--output in the end: remove the link, or choose another --output"
        )


def _claim(work: Path, run: Mapping[str, Any], resume: bool) -> None:
    """Make the folder this run's; remove the files of a run that was killed at its start."""
    if _has_ended(work):
        _empty(work)
    path, kept = work / _RUN_FILE, _worth_keeping(work)
    there = _read_run(path)
    # None if the file is missing, or no run has written it.
    differences = None if there is None else _differences(_flat(there), _flat(run), _FREE_TO_CHANGE)
    if not kept and differences != "":
        for entry in set(work.iterdir()) - {work / _LOCK}:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not path.exists():
        write_json(run, path)
    elif differences is None:
        raise ValueEvalError(
            f"{path}: cannot be read as the file of a run; remove {work} to start again"
        )
    elif differences:
        raise ValueEvalError(
            f"{work} holds an unfinished run of another configuration ({differences}): "
            f"choose another --output, or remove {work} to discard that run"
        )
    elif kept and not resume:
        raise ValueEvalError(
            f"{work} holds an unfinished run of this configuration: add --resume to continue it, "
            "or remove the folder to start again"
        )


def _read_run(path: Path) -> dict[str, Any] | None:
    """Return the content of a run's file; None if no run can have written it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def new_adapter(work: Path, output: Path) -> Iterator[Path]:
    """Yield a folder for the adapter's files; rename it to the output when the block succeeds."""
    folder, finished = work / _ADAPTER, work / _FINISHED
    finished.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with writing(output.parent, partial=folder):
        folder.mkdir()
        yield folder
        _let_others_read(folder)
        _on_disk(folder)
        finished.touch()
        try:
            folder.rename(output)
        except OSError:
            finished.unlink(missing_ok=True)
            raise
        _sync(output.parent)
    _remove(work)


def _has_ended(work: Path) -> bool:
    """Return True if the run of a folder has moved its adapter to the output directory."""
    return (work / _FINISHED).exists() and not (work / _ADAPTER).exists()


def _remove(work: Path) -> None:
    """Remove the folder of a run that has ended, in an order that a kill cannot spoil."""
    with suppress(OSError):
        _empty(work)
        (work / _LOCK).unlink(missing_ok=True)
        work.rmdir()


def _empty(work: Path) -> None:
    """Remove all but the lock from the folder of a run that has ended; what says so goes last."""
    if (work / _ADAPTER).is_dir():
        shutil.rmtree(work / _ADAPTER)
    finished = work / _FINISHED
    finished.touch()
    for entry in set(work.iterdir()) - {work / _LOCK, finished}:
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    finished.unlink()


def _on_disk(folder: Path) -> None:
    """Wait until a folder is on the disk, before the checkpoints are removed."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems cannot do that for a folder.
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(number)
    finally:
        os.close(number)


def _let_others_read(folder: Path) -> None:
    """Give files the rights that the user's umask allows; safetensors writes them as 0600.

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


def _differences(
    there: Mapping[str, Any], here: Mapping[str, Any], but: Collection[str] = ()
) -> str:
    """Return the options that differ, in words: ``epochs 8 there, 3 here``."""
    there, here = current(there), current(here)
    # What an earlier version did not write down stands at its default.
    known = {field.name: field.default for field in fields(TrainConfig) if field.metadata}
    known |= DEFAULT_CHOICES
    before, now = (
        {name: options.get(name, known.get(name)) for name in {*there, *here}}
        for options in (there, here)
    )
    return ", ".join(
        f"{name} {before[name]!r} there, {now[name]!r} here"
        for name in sorted(before.keys() - {*but})
        if before[name] != now[name]
    )

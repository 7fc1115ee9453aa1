"""Refuse to answer about arguments whose labels an adapter has seen, by the protocol ``cv``.

Such an adapter has read test labels: it is evaluated on its own fold of set ``cv``, and on sets
that are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lm_eval.api.instance import Instance

from valueeval.adapters.directory.manifest import TrainingData
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_content
from valueeval.adapters.directory.typed_json import parse_dataclass
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores.calibration import Origin


def refuse_seen_labels(
    data: TrainingData | None, adapter: str, requests: Sequence[Instance]
) -> None:
    """Raise an error if an adapter is asked about arguments whose labels it has seen.

    With the protocol ``main`` only set ``cv`` is refused, which holds the training arguments.

    Args:
        data: The adapter's training data; None if unknown.
        adapter: The adapter's name.
        requests: The requests of a run.

    Raises:
        ValueEvalError: It is; the message says what can be evaluated.
    """
    if data is None:
        return
    folds_of: dict[tuple[str, Origin], set[int]] = {}
    for request in requests:
        if isinstance(request, ValueRequest):
            folds = folds_of.setdefault((str(request.task_name), request.origin), set())
            if "fold" in request.doc:
                folds.add(request.doc["fold"])
    for (task, origin), folds in folds_of.items():
        if (why := _refusal(data, origin, folds)) is not None:
            raise ValueEvalError(f"{task}: {adapter} {why}")


def refuse_seen_set(data: TrainingData | None, adapter: str, name: str, sha256: str) -> None:
    """Raise an error if an adapter has seen labels of a set, as `refuse_seen_labels`.

    Args:
        data: The adapter's training data; None if unknown.
        adapter: The adapter's name.
        name: The set's name.
        sha256: Hash of the set's files, as `valueeval.tasks.data.dataset.DataSet.sha256`.

    Raises:
        ValueEvalError: It has; the message says what can be evaluated.
    """
    why = None if data is None else _refusal(data, Origin(set=name, data_sha256=sha256), set())
    if why is not None:
        raise ValueEvalError(f"{adapter} {why}")


def cv_data_of(folder: str | Path) -> TrainingData | None:
    """Return what a PEFT adapter was trained on, if its manifest says by the protocol ``cv``.

    Raises:
        ManifestError: Its manifest is damaged.
    """
    if not (Path(folder) / MANIFEST_FILE).is_file():
        return None
    content = read_content(Path(folder))
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict) or data.get("protocol") != CV:
        return None
    return parse_dataclass(TrainingData, data)


def _refusal(data: TrainingData, origin: Origin, folds: set[int]) -> str | None:
    """Return why an adapter must not answer about a set; None if it may."""
    hashes = (origin.data_sha256 or "").split("+")
    overlaps = not data.file_hashes.isdisjoint(hashes) and origin.data_sha256
    if data.protocol != CV:
        if origin.set == CV and overlaps:
            return (
                f"was trained on arguments of set {CV} (protocol main): train five adapters with "
                f"--protocol {CV} --fold 0 … 4"
            )
        return None
    own = _listed(data.left_out)
    if origin.set != CV:
        if origin.set in data.labels_seen or overlaps:
            return (
                f"was trained by --protocol {CV} and has seen labels of this set ({origin.set}): "
                f"evaluate it on valueeval_…_{CV}"
            )
        return None
    if origin.data_sha256 != data.sha256:
        return f"was trained on other files of set {CV} than those found here"
    if others := folds - set(data.left_out):
        return (
            f"may answer fold {own} of set {CV} alone and is asked about fold {_listed(others)}: "
            f"add --metadata '{{\"fold\": {own}}}', or give the adapters of all five folds joined "
            "by + (with a head)"
        )
    return None


def _listed(folds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(folds)))

"""The manifest: content and origin of an adapter directory (see `manifest_file`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from valueeval.adapters.directory.errors import ManifestError, check_one_of
from valueeval.adapters.directory.input_format import Head, InputFormat, check_head_and_input
from valueeval.adapters.directory.typed_json import parse_dataclass, shown
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.data.folds import CV_FOLDS
from valueeval.tasks.templates.decide import TEMPLATES
from valueeval.tasks.values import VALUE_NAMES

T = TypeVar("T")
SCHEMA_VERSION = 1
_TUNED_ON = ("training", "validation", "fold", "inner_fold", "none")
_NOW = "2026-01-31T23:59:59+00:00"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


@dataclass(frozen=True)
class BaseModel:
    """The pretrained model that training started from."""

    name: str
    revision: str | None
    sha256: str

    def refuse_other(self, adapter: str, found: str, sha256: str, remedy: str) -> None:
        """Refuse another base model than this one.

        Args:
            adapter: Name of the adapter that was trained on this one.
            found: Name of the base model in its place.
            sha256: Hash of the weights of that one.
            remedy: What the user can do.

        Raises:
            ManifestError: Their weights differ.
        """
        if sha256 != self.sha256:
            at = f" at revision {self.revision}" if self.revision else ""
            raise ManifestError(
                f"{adapter}: trained on base model {self.name!r}{at} with weights "
                f"{self.sha256[:12]}…, but {found!r} has weights {sha256[:12]}… (SHA-256): its "
                f"scores would be meaningless. {remedy}"
            )


@dataclass(frozen=True)
class Thresholds:
    """The threshold of each value's probability: predicted if strictly greater.

    Attributes:
        values: A probability in (0, 1) for each value, in label order.
        split: The data that they were tuned on, ``"fold"`` if that is the fold left out of training
            (see `TrainingData`), ``"inner_fold"`` with the protocol ``cv``; never a test set.
        metric: The metric that they were tuned for.
    """

    values: tuple[float, ...]
    split: str
    metric: str

    def __post_init__(self) -> None:
        if len(self.values) != len(VALUE_NAMES):
            raise ManifestError(
                f"thresholds.values: {len(self.values)} numbers; allowed: {len(VALUE_NAMES)}"
            )
        for name, value in zip(VALUE_NAMES, self.values, strict=True):
            if not 0 < value < 1:
                raise ManifestError(
                    f"thresholds.values: {value} for {name!r}; allowed: between 0 and 1"
                )
        check_one_of("thresholds.split", self.split, _TUNED_ON)

    @property
    def tuned(self) -> bool:
        """Return True if they were chosen by a model's answers; one half everywhere was not."""
        return self.split != "none"

    @property
    def logits(self) -> npt.NDArray[np.float64]:
        """Return the thresholds as logits τ, shape (20,)."""
        probabilities = np.array(self.values, dtype=np.float64)
        return np.log(probabilities) - np.log1p(-probabilities)

    def decide(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Return True for each predicted value: logits (…, 20) strictly above τ."""
        return logits.astype(np.float64) - self.logits > 0


@dataclass(frozen=True)
class Parameters:
    """The number of parameters, head included, and of trained ones."""

    total: int
    trainable: int


@dataclass(frozen=True)
class TrainingData:
    """The data that the model was trained on.

    Attributes:
        name: ``"touche23"``, or ``"sample"`` for the set that ships with the package.
        set: The split, e.g. ``"training"``; several are joined by ``+``.
        size: Arguments used; for an average, by the member that used the most.
        sha256: Hash of the split's files, as `valueeval.tasks.data.dataset.DataSet.sha256`;
            several are joined by ``+``.
        folds: Number of folds by conclusion; None if the data were not cut into folds.
        left_out: The fold (from 0) that was not trained on; for an average, the fold of each
            member; empty if all folds were trained on. With the protocol ``cv`` the fold that the
            adapter may be evaluated on: neither training nor any choice has seen it.
        validation_sha256: Hash of the files that epochs and thresholds were chosen on; None in
            manifests without it.
        validation_size: Number of their arguments that were used; None for all.
        protocol: ``"main"`` (trained on training, chosen on validation, or on folds of both) or
            ``"cv"`` (see `valueeval.tasks.data.folds`).
        labels_seen: The published sets whose labels training or choices have read, ``"main"`` (the
            test set) among them with the protocol ``cv``; empty in manifests that do not say.
    """

    name: str
    set: str
    size: int
    sha256: str
    folds: int | None = None
    left_out: tuple[int, ...] = ()
    validation_sha256: str | None = None
    validation_size: int | None = None
    protocol: str = "main"
    labels_seen: tuple[str, ...] = ()

    @property
    def file_hashes(self) -> frozenset[str]:
        """The hashes of each split's files."""
        return frozenset(self.sha256.split("+"))

    def __post_init__(self) -> None:
        check_one_of("data.protocol", self.protocol, ("main", CV))
        if self.protocol == CV and (self.folds != CV_FOLDS or not self.left_out):
            raise ManifestError(
                f"data.protocol: 'cv' with {self.folds} folds and {list(self.left_out)} left out; "
                f"it has {CV_FOLDS} folds, one of them left out"
            )
        folds = self.folds or 0
        if not all(0 <= fold < folds for fold in self.left_out):
            raise ManifestError(
                f"data.left_out: {list(self.left_out)}; allowed with {self.folds} folds: "
                + (f"some of 0 to {folds - 1}" if folds else "none")
            )

    @property
    def described(self) -> str:
        """Return the data in words: ``touche23 training (d09c9a1f…)``, and the fold left out."""
        left = " or ".join(map(str, self.left_out))
        folds = f", in {self.folds} folds" if self.folds else ""
        without = f", fold {left} of {self.folds} left out" if self.left_out else folds
        hashes = "+".join(f"{sha256[:8]}…" for sha256 in self.sha256.split("+"))
        return f"{self.name} {self.set} ({hashes}){without}"


@dataclass(frozen=True)
class FileInfo:
    """A file of the adapter directory: its size in bytes and SHA-256 (hex)."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of ``valueeval.json``, one attribute a key.

    Attributes:
        template: The task template whose verbaliser gives the answer; None for a head.
        head: The classifier head; None for a template.
        input: The text of an argument; None for a template, whose task has the words.
        labels: The names of the values in the order of the outputs.
        base_model: The model that training started from.
        method: The training method, e.g. ``"full"``.
        objective: The loss, e.g. ``"bce"``.
        thresholds: Decision thresholds.
        parameters: Numbers of parameters.
        data: The training data.
        seed: Seed of the run.
        config: The full training configuration.
        validation: Scores with these thresholds on validation, or on the fold left out of training,
            by metric; None where undefined.
        versions: Versions of the libraries in use.
        seconds: Time that training took, in seconds, all resumed parts together.
        peak_memory_bytes: The largest resident set of the training process.
        date: When it was finished, ISO 8601 in UTC.
        files: Every other file of the directory but its model card.
        weights_sha256: One hash for all weights: over the safetensors files in order of name.
        peak_device_bytes: The most GPU memory that PyTorch held for the (main) process; None
            without a GPU.
        schema_version: Version of this layout.
    """

    template: str | None
    head: Head | None
    input: InputFormat | None
    labels: tuple[str, ...]
    base_model: BaseModel
    method: str
    objective: str
    thresholds: Thresholds
    parameters: Parameters
    data: TrainingData
    seed: int
    config: Mapping[str, Any]
    validation: Mapping[str, float | None]
    versions: Mapping[str, str]
    seconds: float
    peak_memory_bytes: int
    date: str
    files: Mapping[str, FileInfo]
    weights_sha256: str
    peak_device_bytes: int | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check_schema(self.schema_version)
        if not _DATE.fullmatch(self.date):
            raise ManifestError(f"date: {shown(self.date)}; allowed: such as {_NOW}")
        if self.labels != VALUE_NAMES:
            raise ManifestError(
                "labels: not the 20 value categories in the order of the official label files"
            )
        if (self.template is None) == (self.head is None):
            raise ManifestError("template and head: exactly one of them must be given")
        if self.template is not None:
            check_one_of("template", self.template, TEMPLATES)
        if self.head is not None:
            if self.input is None:
                raise ManifestError(
                    "input: missing; a model with a head reads arguments in its words"
                )
            check_head_and_input(self.head, self.input)

    @property
    def reading(self) -> InputFormat:
        """Return the input format of a model with a head."""
        assert self.input is not None  # noqa: S101 (checked above; for the type checker)
        return self.input

    @property
    def task(self) -> str:
        """Return the task with the adapter's template and wording, on what it may be tested on."""
        paraphrase = self.config.get("paraphrase") or 1
        wording = "" if paraphrase == 1 else f"_p{paraphrase}"
        tested_on = "_sample" if self.data.name == "sample" else ""
        if self.data.protocol == CV:
            tested_on = f"_{CV}"
        return f"valueeval_{self.template or 'cls'}{wording}{tested_on}"

    @property
    def wording(self) -> str:
        """Return the form of prompts that a template was trained on: ``"chat"`` or ``"plain"``."""
        return "chat" if self.config.get("chat_template") else "plain"

    @property
    def cost(self) -> str:
        """Return the time and memory of the training in words."""
        device = self.peak_device_bytes
        on_gpu = f" and {device / 2**30:.1f} GiB of a GPU's" if device else ""
        return f"{self.seconds:.0f} s, {self.peak_memory_bytes / 2**30:.1f} GiB{on_gpu}"

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values, as in ``config.valueeval`` of lm-eval's results."""
        first = {"schema_version": self.schema_version}
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return first | plain


def manifest_from_json(content: object) -> Manifest:
    """Return the manifest of JSON values, after checking every field's type and range.

    Raises:
        ManifestError: Names the field, what it holds and what is allowed.
    """
    return parse(Manifest, content)


def parse(kind: type[T], content: object) -> T:
    """Return JSON values as a dataclass with a schema version, after checking every field.

    Raises:
        ManifestError: Names the field, what it holds and what is allowed.
    """
    if isinstance(content, dict):
        # Before the fields: another version may well have other ones.
        _check_schema(content.get("schema_version"))
    return parse_dataclass(kind, content)


def _check_schema(version: object) -> None:
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"schema_version: {shown(version)}; this version of valueeval reads {SCHEMA_VERSION}: "
            "update lm-eval-valueeval, or train the adapter again"
        )

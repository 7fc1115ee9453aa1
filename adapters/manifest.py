"""`valueeval.json`: what an adapter directory holds, where it comes from, and how to read it.

The manifest is the last file written into an adapter directory, so a directory that has one is
whole; it lists the other files with size and SHA-256, so a reader notices what changed since.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from valueeval.adapters.base import hub_origin, weight_hash
from valueeval.tasks.data import STANCE_WORDS, Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.values import VALUE_NAMES, Value

T = TypeVar("T")
MANIFEST_FILE = "valueeval.json"
# The model card. The manifest does not list it: people edit it, on the hub above all.
CARD_FILE = "README.md"
SCHEMA_VERSION = 1
HEAD_KINDS = ("linear", "multiple", "cross-encoder")
POOLINGS = ("mean", "cls", "last", "attention")
INPUT_FIELDS = ("premise", "stance", "stance_word", "conclusion")
VALUE_FIELDS = ("value.name", "value.short", "value.long")


class ManifestError(ValueEvalError):
    """An adapter directory that must not be used; the message says why."""


@dataclass(frozen=True)
class Head:
    """The classifier head.

    Attributes:
        kind: ``"linear"``: one linear layer with an output for each value; ``"multiple"``: a
            classifier for each value with an attention pooling of its own; ``"cross-encoder"``: one
            output, for the value that the input describes beside the argument.
        pooling: What it reads: ``"mean"`` of the last hidden states, that of the first token
            (``"cls"``) or the last one (``"last"``), or their mean weighted by ``"attention"``.
    """

    kind: str
    pooling: str

    def __post_init__(self) -> None:
        _one_of("head.kind", self.kind, HEAD_KINDS)
        _one_of("head.pooling", self.pooling, POOLINGS)
        if self.kind == "multiple":
            _one_of("head.pooling", self.pooling, ("attention",))


@dataclass(frozen=True)
class InputFormat:
    """How an argument becomes the text that the model reads.

    Attributes:
        segments: One or two texts with fields in braces: ``{premise}``, ``{conclusion}``,
            ``{stance}`` ("in favor of" or "against"), ``{stance_word}`` ("for" or "against").
            With a field of a value (``{value.name}``, ``{value.short}``: its description in a few
            words, ``{value.long}``: in a sentence or two) an argument becomes 20 inputs.
        max_length: Tokens at most, special tokens included; a longer input loses words from the
            end of its longest segment.
        separator: What stands between two segments; None: they are read as a pair, as the
            tokenizer joins pairs (where it does: that of GPT-2 puts nothing between them).
    """

    segments: tuple[str, ...]
    max_length: int
    separator: str | None = None

    def __post_init__(self) -> None:
        if len(self.segments) not in (1, 2):
            raise ManifestError(f"input.segments: {len(self.segments)} texts; allowed: one or two")
        for text in self.segments:
            _check_segment(text)
        if self.max_length < 8:
            raise ManifestError(f"input.max_length: {self.max_length}; allowed: 8 or more")

    @property
    def names_a_value(self) -> bool:
        """Whether an argument becomes 20 inputs, each with a value beside it."""
        return any(field in VALUE_FIELDS for text in self.segments for field in _fields(text))

    def texts(self, argument: Argument, value: Value | None = None) -> tuple[str, ...]:
        """The argument, beside a value if one is named, in the words of each segment."""
        words = {
            "premise": argument.premise,
            "conclusion": argument.conclusion,
            "stance": argument.stance,
            "stance_word": STANCE_WORDS[argument.stance],
            "value": value,
        }
        return tuple(segment.format_map(words) for segment in self.segments)


@dataclass(frozen=True)
class BaseModel:
    """The pretrained model that training started from (see `valueeval.adapters.base.Base`)."""

    name: str
    revision: str | None
    sha256: str


@dataclass(frozen=True)
class Thresholds:
    """Where each value's probability turns into a decision: predicted if strictly greater.

    Attributes:
        values: A probability in (0, 1) for each value, in label order.
        split: The data that they were tuned on, ``"fold"`` if that is the fold left out of training
            (see `TrainingData`); never a test set.
        metric: What they were tuned for.
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
        _one_of("thresholds.split", self.split, ("training", "validation", "fold", "none"))

    @property
    def logits(self) -> npt.NDArray[np.float64]:
        """The thresholds as logits τ, shape (20,)."""
        probabilities = np.array(self.values, dtype=np.float64)
        return np.log(probabilities) - np.log1p(-probabilities)

    def decide(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Which values are predicted: logits (…, 20) strictly above τ."""
        return logits.astype(np.float64) - self.logits > 0


@dataclass(frozen=True)
class Parameters:
    """How many parameters the model has, head included, and how many of them were trained."""

    total: int
    trainable: int


@dataclass(frozen=True)
class TrainingData:
    """What the model was trained on.

    Attributes:
        name: ``"touche23"``, or ``"sample"`` for the set that ships with the package.
        set: The split, e.g. ``"training"``; several are joined by ``+``.
        size: Arguments used; of an average, by the member that used the most.
        sha256: Hash of the split's files, as `valueeval.tasks.data.DataSet.sha256`; of several,
            theirs, joined by ``+``.
        folds: Into how many folds by conclusion the data were cut; None if they were not.
        left_out: The fold (from 0) that was not trained on; of an average, that of each member;
            empty if all folds were trained on.
        validation_sha256: Hash of the files that epochs and thresholds were chosen on; None in
            manifests that do not say it.
    """

    name: str
    set: str
    size: int
    sha256: str
    folds: int | None = None
    left_out: tuple[int, ...] = ()
    validation_sha256: str | None = None

    def __post_init__(self) -> None:
        folds = self.folds or 0
        if not all(0 <= fold < folds for fold in self.left_out):
            raise ManifestError(
                f"data.left_out: {list(self.left_out)}; allowed with {self.folds} folds: "
                + (f"some of 0 to {folds - 1}" if folds else "none")
            )

    @property
    def described(self) -> str:
        """In words: ``touche23 training (d09c9a1f…)``, and what was left out of it."""
        left = " or ".join(map(str, self.left_out))
        without = f", fold {left} of {self.folds} left out" if self.left_out else ""
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
        input: How an argument becomes text; None for a template, whose task has the words.
        labels: The names of the values in the order of the outputs.
        base_model: What training started from.
        method: What was trained, e.g. ``"full"``.
        objective: The loss, e.g. ``"bce"``.
        thresholds: Decision thresholds.
        parameters: Counts.
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
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check_schema(self.schema_version)
        if self.labels != VALUE_NAMES:
            raise ManifestError(
                "labels: not the 20 value categories in the order of the official label files"
            )
        if (self.template is None) == (self.head is None):
            raise ManifestError("template and head: exactly one of them must be given")
        if self.head is not None:
            if self.input is None:
                raise ManifestError(
                    "input: missing; a model with a head reads arguments in its words"
                )
            check_head_and_input(self.head, self.input)

    @property
    def reading(self) -> InputFormat:
        """How a model with a head reads an argument."""
        assert self.input is not None  # noqa: S101 (checked above; for the type checker)
        return self.input

    @property
    def task(self) -> str:
        """The task that asks as the adapter was trained, on test arguments of its data set."""
        paraphrase = self.config.get("paraphrase") or 1
        wording = "" if paraphrase == 1 else f"_p{paraphrase}"
        sample = "_sample" if self.data.name == "sample" else ""
        return f"valueeval_{self.template or 'cls'}{wording}{sample}"

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values (what lm-eval's results hold as ``config.valueeval``)."""
        first = {"schema_version": self.schema_version}
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return first | plain


def describe_files(folder: Path) -> dict[str, FileInfo]:
    """Size and hash of every file in a folder but the manifest and the model card, by name."""
    return {
        file.name: FileInfo(file.stat().st_size, weight_hash([file]))
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name not in (MANIFEST_FILE, CARD_FILE)
    }


def combined_hash(files: Mapping[str, FileInfo]) -> str:
    """One hash that identifies the weights: over the hashes of the safetensors files."""
    hashes = [info.sha256 for name, info in sorted(files.items()) if name.endswith(".safetensors")]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Writes ``valueeval.json``: under a temporary name first, then renamed.

    Raises:
        ManifestError: A file that the manifest lists is not in the folder as listed.
    """
    folder = Path(folder)
    _check_files(folder, manifest)
    text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Reads ``valueeval.json`` and checks the directory against it.

    Raises:
        ManifestError: There is none, it cannot be read as schema version 1, or a file that it
            lists is missing, truncated or changed.
    """
    folder = Path(folder)
    path = folder / MANIFEST_FILE
    content = read_content(folder)
    try:
        if isinstance(content, dict) and "members" in content:
            raise ManifestError(
                "an average of adapters (it lists members), where a single one is needed: name "
                "one of its members, or all in place of it"
            )
        manifest = manifest_from_json(content)
        _check_files(folder, manifest)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}{_about_copy(folder)}") from error
    return manifest


def read_content(folder: Path) -> object:
    """What ``valueeval.json`` holds, as JSON values, unchecked.

    Raises:
        ManifestError: There is none, or it cannot be read.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(_no_manifest(folder)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error
    try:
        content: object = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ManifestError(f"{path}: not valid JSON: {error}") from error
    return content


def manifest_from_json(content: object) -> Manifest:
    """The manifest that `Manifest.to_json` gave, every field's type and range checked.

    Raises:
        ManifestError: Names the field, what it holds and what is allowed.
    """
    return parse(Manifest, content)


def parse(kind: type[T], content: object) -> T:
    """JSON values as a dataclass with a schema version, every field's type and range checked.

    Raises:
        ManifestError: Names the field, what it holds and what is allowed.
    """
    if isinstance(content, dict):
        # Before the fields: another version may well have other ones.
        _check_schema(content.get("schema_version"))
    return cast(T, _parse(kind, content, ""))


def _no_manifest(folder: Path) -> str:
    if not folder.is_dir():
        unfinished = folder.with_name(folder.name + ".training")
        if unfinished.is_dir():
            return (
                f"{folder}: no adapter yet, training is unfinished ({unfinished}): "
                "repeat the training command with --resume"
            )
        return f"{folder}: no such adapter directory"
    return (
        f"{folder}: no {MANIFEST_FILE} in it, so this is no adapter directory as "
        "`valueeval train` writes it"
    )


def _about_copy(folder: Path) -> str:
    """What can be done about a copy from the hub that cannot be used."""
    origin = hub_origin(folder)
    if origin is None:
        return ""
    return (
        f"\nThis is a copy of {origin} from the hub: remove {folder.parent.parent} to fetch it "
        "again; if that does not help, its author has to push it again"
    )


def _check_schema(version: object) -> None:
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"schema_version: {version!r}; this version of valueeval reads {SCHEMA_VERSION}: "
            "update lm-eval-valueeval, or train the adapter again"
        )


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Compares the files of the folder with the manifest's list, sizes first (cheap)."""
    if not any(name.endswith(".safetensors") for name in manifest.files):
        raise ManifestError("files: no .safetensors weights listed")
    if manifest.weights_sha256 != combined_hash(manifest.files):
        raise ManifestError("weights_sha256: does not go with the hashes in files")
    for name, info in manifest.files.items():
        if Path(name).name != name:
            raise ManifestError(f"files: {name!r} is not a plain file name")
        file = folder / name
        if not file.is_file():
            raise ManifestError(f"{name} is missing from the directory; copy it again")
        size = file.stat().st_size
        if size != info.bytes:
            raise ManifestError(
                f"{name} has {size} bytes instead of {info.bytes}: truncated or changed; "
                "copy it again"
            )
        if weight_hash([file]) != info.sha256:
            raise ManifestError(f"{name} was changed (its SHA-256 differs); copy it again")


def check_head_and_input(head: Head, form: InputFormat) -> None:
    """Refuses a cross-encoder that is told of no value, and other heads that are told of one.

    Raises:
        ManifestError: Names the segments and what is allowed.
    """
    if (head.kind == "cross-encoder") == form.names_a_value:
        return
    allowed = "{" + "} or {".join(VALUE_FIELDS) + "}"
    if form.names_a_value:
        raise ManifestError(f"input.segments: {allowed} has a meaning for a cross-encoder only")
    raise ManifestError(f"input.segments: a cross-encoder must be told of a value, by {allowed}")


def _fields(text: str) -> list[str]:
    """The names of the fields in a segment."""
    return [name for _, name, _, _ in Formatter().parse(text) if name is not None]


def _check_segment(text: str) -> None:
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ManifestError(f"input.segments: {text!r}: {error}") from None
    allowed = (*INPUT_FIELDS, *VALUE_FIELDS)
    for _, name, spec, conversion in parts:
        if name is not None and (name not in allowed or spec or conversion):
            raise ManifestError(
                f"input.segments: field {{{name}}} in {text!r}; allowed: "
                + ", ".join(f"{{{field}}}" for field in allowed)
            )


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ManifestError(f"{field}: {value!r}; allowed: {', '.join(allowed)}")


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


_NAMES: dict[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    tuple: "a list",
    Mapping: "an object",
}


def _parse(kind: Any, value: object, where: str) -> Any:
    """Reads a JSON value as a type: dataclass, optional, tuple, mapping, str, int, float."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    if origin in (Union, types.UnionType):
        inner = next(option for option in get_args(kind) if option is not type(None))
        return None if value is None else _parse(inner, value, where)
    if origin is tuple and isinstance(value, list):
        inner = get_args(kind)[0]
        return tuple(_parse(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        inner = get_args(kind)[1]
        return {key: _parse(inner, item, f"{where}.{key}") for key, item in value.items()}
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    # JSON does not tell 1.0 from 1.
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number):
            return number
    raise ManifestError(f"{where}: {value!r}; allowed: {_NAMES[origin or kind]}")


def _parse_dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise ManifestError(f"{where or 'the file'}: not an object")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    prefix = f"{where}." if where else ""
    for name in value:
        if name not in known:
            raise ManifestError(f"{prefix}{name}: unknown field")
    arguments = {}
    for name, field in known.items():
        if name in value:
            arguments[name] = _parse(hints[name], value[name], prefix + name)
        elif field.default is MISSING:
            raise ManifestError(f"{prefix}{name}: missing")
    return kind(**arguments)

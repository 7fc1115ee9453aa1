"""A pretrained model with a head on it: one logit for each of the 20 values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.classifier.backbones import (
    check_max_length,
    knows_token_types,
    load_backbone,
    load_tokenizer,
    pad_token,
    quiet_transformers,
)
from valueeval.adapters.classifier.heads import ValueHead
from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.input_format import InputFormat
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_manifest
from valueeval.adapters.directory.tensors import check_numbers, check_tensors
from valueeval.adapters.runtime.batch_sizes import BatchLimits, BatchSizer
from valueeval.adapters.runtime.devices import choose_device, device_of
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.cut_argument import cut_argument
from valueeval.tasks.values import VALUE_NAMES, VALUES, Value

HEAD_FILE = "head.safetensors"
Batch = dict[str, torch.Tensor]
_TEXTS_AT_ONCE = 2048


@dataclass(frozen=True)
class TokenizedArguments:
    """Arguments as tokens.

    Attributes:
        inputs: The tokenizer's output for each argument (``input_ids``, and ``token_type_ids`` for
            models that know them), unpadded; for a cross-encoder 20 for each argument, in the order
            of the values.
        cut: Indices of the arguments that were longer than the input format's limit and were cut.
    """

    inputs: list[dict[str, list[int]]]
    cut: frozenset[int]

    @property
    def truncated(self) -> int:
        """Return the number of arguments that were cut."""
        return len(self.cut)

    @property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each input."""
        return [len(item["input_ids"]) for item in self.inputs]


class ValueClassifier(nn.Module):
    """A pretrained model with a head (see `valueeval.adapters.classifier.heads.ValueHead`).

    Args:
        backbone: A model whose output has ``last_hidden_state`` (batch, length, hidden).
        pooling: The head's pooling: ``"mean"``, ``"cls"``, ``"last"`` or ``"attention"``.
        dropout: Share of the pooled features set to 0 in training.
        kind: The head's kind: ``"linear"``, ``"multiple"`` or ``"cross-encoder"``.
    """

    def __init__(
        self, backbone: nn.Module, pooling: str, dropout: float = 0.0, kind: str = "linear"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        # A PEFT model's own; others have none.
        peft_config = getattr(backbone, "active_peft_config", None)
        soft_prompt = bool(getattr(peft_config, "is_prompt_learning", False))
        config = cast(Any, backbone).config
        # PEFT takes none with virtual tokens; stock PEFT and we give the same.
        self._token_types = knows_token_types(config) and not soft_prompt
        width = config.hidden_size
        self.head = ValueHead(kind, pooling, width, dropout)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 20), for a cross-encoder (batch, 1), of inputs (batch, length)."""
        return cast(torch.Tensor, self.head(self.hidden(**inputs), inputs["attention_mask"]))

    def hidden(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Return the last hidden states of padded inputs: (batch, length, hidden).

        The hidden states of virtual tokens are left out.
        """
        if not self._token_types:
            inputs.pop("token_type_ids", None)
        hidden = self.backbone(**inputs).last_hidden_state
        return cast(torch.Tensor, hidden[:, -inputs["input_ids"].shape[1] :])

    def save(self, folder: Path) -> None:
        """Write the backbone as a Transformers model directory and ``head.safetensors``."""
        with quiet_transformers():
            cast(Any, self.backbone).save_pretrained(folder)
        self.save_head(folder)

    def save_head(self, folder: Path) -> None:
        """Write ``head.safetensors``."""
        save_file(
            {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()},
            folder / HEAD_FILE,
        )


class Classifier:
    """A trained adapter with a head, ready to read arguments.

    Attributes:
        manifest: The manifest of the adapter directory.
        tokenizer: The tokenizer.
        model: The network, in evaluation mode.
        device: The device that it runs on.
        cut: Arguments that were cut to the input limit so far, once for each reading.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: PreTrainedTokenizerBase,
        model: ValueClassifier,
        device: torch.device,
    ) -> None:
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.model = model.to(device).eval()
        self.device = device
        self.cut: list[Argument] = []

    @property
    def truncated(self) -> int:
        """Return how often an argument was cut so far."""
        return len(self.cut)

    def logits(self, arguments: Sequence[Argument], batch_size: int = 32) -> np.ndarray:
        """Return a logit for each argument and value, equal at all batch sizes up to float noise.

        Args:
            arguments: The arguments, in any order and of any length.
            batch_size: Number of inputs read at once, of similar length. An argument is one input,
                for a cross-encoder 20.

        Returns:
            float32, shape (arguments, 20), rows in the order given.
        """
        encoded = encode(self.tokenizer, arguments, self.manifest.reading)
        self.cut += [arguments[row] for row in sorted(encoded.cut)]
        return predict_logits(self.model, encoded, batch_size, pad_token(self.tokenizer))


def load_classifier(
    folder: str | Path, device: str | torch.device | None = None, manifest: Manifest | None = None
) -> Classifier:
    """Load an adapter directory that holds a classifier with a head.

    Args:
        folder: The adapter directory.
        device: The device to run on; None picks CUDA, MPS or the CPU, in that order of preference.
        manifest: The manifest, if it has been read (and checked) already.

    Raises:
        ManifestError: The directory is incomplete, or holds another kind of adapter.
    """
    folder = Path(folder)
    manifest = manifest or read_manifest(folder)
    if manifest.head is None:
        raise ManifestError(
            f"{folder}: method {manifest.method!r} with template {manifest.template!r} is no "
            "classifier with a head"
        )
    source = folder if manifest.method == "full" else _base_of(folder, manifest)
    backbone = load_backbone(source)
    if manifest.method == "full":
        check_numbers(sorted(folder.glob("*.safetensors")))
    if manifest.method not in ("full", "head"):
        from valueeval.adapters.classifier.peft_encoder import (
            load_peft,  # its import takes a second
        )

        backbone = load_peft(backbone, folder)
    model = ValueClassifier(backbone, manifest.head.pooling, kind=manifest.head.kind)
    try:
        head = load_file(folder / HEAD_FILE)
    except (OSError, SafetensorError) as error:
        raise ManifestError(f"{folder / HEAD_FILE}: cannot be read: {error}") from error
    check_tensors(folder / HEAD_FILE, head, model.head.state_dict())
    model.head.load_state_dict(head)
    tokenizer = load_tokenizer(source)
    try:
        check_max_length(backbone, tokenizer, manifest.reading.max_length)
    except ValueEvalError as error:
        raise ManifestError(f"{folder / MANIFEST_FILE}: input.{error}") from error
    return Classifier(manifest, tokenizer, model, choose_device(device))


def _base_of(folder: Path, manifest: Manifest) -> Path:
    """Return the folder of an adapter's base model: found by name, verified by its weights.

    Raises:
        ManifestError: The base model of that name has other weights.
        ValueEvalError: No base model has that name.
    """
    named = manifest.base_model
    base = fetch_base(named.name, named.revision)
    named.refuse_other(
        str(folder), named.name, base.sha256, "Put the original weights there, or train again."
    )
    return base.path


def encode(
    tokenizer: PreTrainedTokenizerBase, arguments: Sequence[Argument], form: InputFormat
) -> TokenizedArguments:
    """Tokenize arguments; inputs that are too long are cut at the end of the longest segment."""
    values: Sequence[Value | None] = VALUES if form.names_a_value else (None,)
    texts = [form.texts(argument, value) for argument in arguments for value in values]
    if not texts:
        return TokenizedArguments([], frozenset())
    joined = texts if form.separator is None else [(form.separator.join(text),) for text in texts]
    inputs = _tokens(tokenizer, joined, form.max_length)
    # Only inputs at the limit can have been cut: those few are tokenized again, uncut.
    full = [row for row, item in enumerate(inputs) if len(item["input_ids"]) >= form.max_length]
    uncut = _tokens(tokenizer, [joined[row] for row in full]) if full else []
    long = [
        row
        for row, item in zip(full, uncut, strict=True)
        if len(item["input_ids"]) > form.max_length
    ]
    if long and form.separator is not None:  # else the tokenizer knew the segments
        shorter = [(_cut_longest(texts[row], tokenizer, form),) for row in long]
        for row, item in zip(long, _tokens(tokenizer, shorter, form.max_length), strict=True):
            inputs[row] = item
    return TokenizedArguments(inputs, frozenset(row // len(values) for row in long))


def _tokens(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[tuple[str, ...]],
    limit: int | None = None,
) -> list[dict[str, list[int]]]:
    """Tokenize texts, or pairs of texts, to at most `limit` tokens each."""
    options: dict[str, Any] = {"return_attention_mask": False, "padding": False, "verbose": False}
    if limit is not None:
        options.update(truncation="longest_first", max_length=limit)
    # To save memory with the 20 inputs of a cross-encoder, texts are tokenized in chunks, and equal
    # numbers are one object.
    numbers: dict[int, int] = {}
    inputs: list[dict[str, list[int]]] = [{} for _ in texts]
    # Texts alone and pairs may stand side by side; the tokenizer takes one kind at a time.
    for segments in sorted({len(text) for text in texts}):
        rows = [row for row, text in enumerate(texts) if len(text) == segments]
        for start in range(0, len(rows), _TEXTS_AT_ONCE):
            chunk = rows[start : start + _TEXTS_AT_ONCE]
            columns = zip(*(texts[row] for row in chunk), strict=True)
            found = tokenizer(*map(list, columns), **options)
            names = [name for name in found if name in tokenizer.model_input_names]
            for place, row in enumerate(chunk):
                inputs[row] = {
                    name: [numbers.setdefault(n, n) for n in found[name][place]] for name in names
                }
    return inputs


def _cut_longest(
    segments: tuple[str, ...], tokenizer: PreTrainedTokenizerBase, form: InputFormat
) -> str:
    """Join segments, the longest of which loses words at its end until all of it fits.

    If two are too long the text stays as it is.
    """
    text = (form.separator or "").join(segments)

    def fits(prompts: list[str]) -> bool:
        return len(_tokens(tokenizer, [(prompts[0],)])[0]["input_ids"]) <= form.max_length

    shortened = cut_argument([text], max(segments, key=len), fits)
    return text if shortened is None else shortened[0]


def collate(
    encoded: TokenizedArguments,
    rows: Sequence[int],
    padding: int,
    device: torch.device | str = "cpu",
) -> Batch:
    """Pad some arguments to the longest of them: tensors of shape (rows, longest).

    Args:
        encoded: All arguments.
        rows: Indices of the arguments of the batch.
        padding: The padding token's number.
        device: The device of the tensors.
    """
    items = [encoded.inputs[row] for row in rows]
    longest = max(len(item["input_ids"]) for item in items)
    fill = {"input_ids": padding}
    batch = {
        key: torch.tensor(
            [item[key] + [fill.get(key, 0)] * (longest - len(item[key])) for item in items]
        )
        for key in items[0]
    }
    lengths = torch.tensor([len(item["input_ids"]) for item in items])
    batch["attention_mask"] = (torch.arange(longest) < lengths.unsqueeze(1)).long()
    return {key: tensor.to(device) for key, tensor in batch.items()}


def predict_logits(
    model: nn.Module, encoded: TokenizedArguments, batch_size: int, padding: int
) -> np.ndarray:
    """Return logits (arguments, 20), float32, of a model that is in evaluation mode.

    Batches hold inputs of similar length, longest first; inputs of a cross-encoder are mixed. A
    batch is halved where memory runs out.
    """
    if batch_size < 1:
        raise ValueEvalError(f"batch_size: {batch_size}; allowed: 1 or more")
    device = device_of(model)
    logits: list[np.ndarray] = [np.empty(0)] * len(encoded.inputs)
    batches = list(batches_by_length(encoded.lengths, batch_size))
    answers = read_batches(
        model, batches, lambda rows: collate(encoded, rows, padding, device), "inputs"
    )
    for rows, found in zip(batches, answers, strict=True):
        for row, answer in zip(rows, found, strict=True):
            logits[row] = answer
    return np.array(logits, dtype=np.float32).reshape(-1, len(VALUE_NAMES))


def read_batches(
    model: nn.Module,
    batches: Sequence[Sequence[int]],
    collated: Callable[[Sequence[int]], Batch],
    what: str,
) -> Iterator[np.ndarray]:
    """Yield a model's output for each batch, float32; a batch is halved where memory runs out.

    Args:
        model: The model, in evaluation mode.
        batches: The rows of each batch.
        collated: Returns the model's inputs for some rows.
        what: The name of the rows in messages.
    """
    sizer = BatchSizer(BatchLimits(max(map(len, batches), default=1)), what)
    for rows in batches:
        found: list[np.ndarray] = []
        for batch in sizer.batches(rows):
            with batch.retry_smaller(), torch.inference_mode():
                found += list(model(**collated(batch.rows)).float().cpu().numpy())
        yield np.array(found)


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield indices in batches of similar length, longest first, so that failures come early."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]

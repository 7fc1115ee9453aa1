"""A pretrained model with a head on it: one logit for each of the 20 values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from valueeval.adapters.classifier.encoding import TokenizedArguments, batches_by_length, encode
from valueeval.adapters.classifier.heads import ValueHead
from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_manifest
from valueeval.adapters.directory.tensors import check_numbers, check_tensors
from valueeval.adapters.runtime.batch_sizes import BatchLimits, BatchSizer
from valueeval.adapters.runtime.devices import choose_device, device_of
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

HEAD_FILE = "head.safetensors"
Batch = dict[str, torch.Tensor]


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


def collate(
    encoded: TokenizedArguments,
    rows: Sequence[int],
    padding: int,
    device: torch.device | str = "cpu",
    at_least: int = 0,
) -> Batch:
    """Pad some arguments to the longest of them: tensors of shape (rows, longest).

    Args:
        encoded: All arguments.
        rows: Indices of the arguments of the batch.
        padding: The padding token's number.
        device: The device of the tensors.
        at_least: Pad to this length at least.
    """
    items = [encoded.inputs[row] for row in rows]
    longest = max(at_least, *(len(item["input_ids"]) for item in items))
    fill = {"input_ids": padding}
    batch = {
        key: torch.from_numpy(  # PyTorch is slower at lists
            np.array(
                [item[key] + [fill.get(key, 0)] * (longest - len(item[key])) for item in items],
                dtype=np.int64,
            )
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

"""An encoder with a head: one logit for each of the 20 values, from one reading."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING,
)
from transformers.utils import logging as transformers_logging

from valueeval.adapters.base import fetch_base
from valueeval.adapters.heads import ValueHead
from valueeval.adapters.manifest import (
    InputFormat,
    Manifest,
    ManifestError,
    read_manifest,
)
from valueeval.tasks.data import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

HEAD_FILE = "head.safetensors"
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Encoded:
    """Arguments as tokens.

    Attributes:
        inputs: For each argument what the tokenizer gives (``input_ids``, and
            ``token_type_ids`` for models that know them), unpadded.
        truncated: How many of them were longer than the input format's limit and were cut.
    """

    inputs: list[dict[str, list[int]]]
    truncated: int

    @property
    def lengths(self) -> list[int]:
        """Tokens of each argument."""
        return [len(item["input_ids"]) for item in self.inputs]


class ValueClassifier(nn.Module):
    """An encoder with a head (see `valueeval.adapters.heads.ValueHead`).

    Args:
        backbone: An encoder whose output has ``last_hidden_state`` (batch, length, hidden).
        pooling: What the head reads of them: ``"mean"``, ``"cls"`` or ``"attention"``.
        dropout: Share of the pooled features set to 0 in training.
        kind: Of the head: ``"linear"`` or ``"multiple"``.
    """

    def __init__(
        self, backbone: nn.Module, pooling: str, dropout: float = 0.0, kind: str = "linear"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        # A PEFT model's own; others have none.
        peft_config = getattr(backbone, "active_peft_config", None)
        self._soft_prompt = bool(getattr(peft_config, "is_prompt_learning", False))
        width = cast(Any, backbone).config.hidden_size
        self.head = ValueHead(kind, pooling, width, dropout)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 20) of padded inputs, each (batch, length)."""
        return cast(torch.Tensor, self.head(self.hidden(**inputs), inputs["attention_mask"]))

    def hidden(self, **inputs: torch.Tensor) -> torch.Tensor:
        """The last hidden states of padded inputs: (batch, length, hidden).

        Virtual tokens before the text have hidden states, too; nothing pools those.
        """
        if self._soft_prompt:
            # PEFT takes none with virtual tokens; stock PEFT and we give the same.
            inputs.pop("token_type_ids", None)
        hidden = self.backbone(**inputs).last_hidden_state
        return cast(torch.Tensor, hidden[:, -inputs["input_ids"].shape[1] :])

    def save(self, folder: Path) -> None:
        """Writes the backbone as a Transformers model directory and ``head.safetensors``."""
        with _quiet_transformers():
            cast(Any, self.backbone).save_pretrained(folder)
        self.save_head(folder)

    def save_head(self, folder: Path) -> None:
        """Writes ``head.safetensors``."""
        save_file(
            {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()},
            folder / HEAD_FILE,
        )


class Classifier:
    """A trained adapter with a head, ready to read arguments.

    Attributes:
        manifest: What the adapter directory says about itself.
        tokenizer: Its tokenizer.
        model: Its network, in evaluation mode.
        device: Where it runs.
        truncated: How many arguments have been cut to the input limit so far.
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
        self.truncated = 0

    def logits(self, arguments: Sequence[Argument], batch_size: int = 32) -> np.ndarray:
        """One logit for each argument and value; the same at every batch size up to float noise.

        Args:
            arguments: What to read, in any order and of any length.
            batch_size: Arguments read at once; those of like length go together.

        Returns:
            float32, shape (arguments, 20), rows in the order given.
        """
        encoded = encode(self.tokenizer, arguments, self.manifest.input)
        self.truncated += encoded.truncated
        return predict_logits(self.model, encoded, batch_size, pad_token(self.tokenizer))


def load_classifier(
    folder: str | Path, device: str | torch.device | None = None, manifest: Manifest | None = None
) -> Classifier:
    """Loads an adapter directory that holds a classifier with a head.

    Args:
        folder: The adapter directory.
        device: Where to run; None picks CUDA, MPS or the CPU, in that order of preference.
        manifest: Its manifest, if it has been read (and checked) already.

    Raises:
        ManifestError: The directory is not whole, or holds another kind of adapter.
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
    if manifest.method not in ("full", "head"):
        from valueeval.adapters.peft_encoder import load_peft  # its import takes a second

        backbone = load_peft(backbone, folder)
    model = ValueClassifier(backbone, manifest.head.pooling, kind=manifest.head.kind)
    try:
        model.head.load_state_dict(load_file(folder / HEAD_FILE))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ManifestError(f"{folder / HEAD_FILE}: cannot be read: {error}") from error
    return Classifier(manifest, load_tokenizer(source), model, pick_device(device))


def _base_of(folder: Path, manifest: Manifest) -> Path:
    """Where the base model of an adapter is: found by its name, known by its weights.

    Raises:
        ManifestError: What goes by that name here are other weights.
        ValueEvalError: Nothing goes by that name.
    """
    named = manifest.base_model
    base = fetch_base(named.name, named.revision)
    if base.sha256 != named.sha256:
        raise ManifestError(
            f"{folder}: trained on base model {named.name!r} with weights {named.sha256[:12]}…, "
            f"but here {named.name!r} has weights {base.sha256[:12]}… (SHA-256): its scores would "
            "be meaningless. Put the weights of then in their place, or train again"
        )
    return base.path


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, then MPS, then the CPU."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def load_backbone(folder: Path) -> nn.Module:
    """The encoder in a Transformers model directory, in float32, without its pooler.

    Raises:
        ValueEvalError: It is not an encoder, or cannot be read.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueEvalError(
            f"{folder}: its config.json cannot be used: {str(error).strip().splitlines()[0]}"
        ) from error
    _refuse_other_than_encoder(config, folder)
    options: dict[str, Any] = {}
    # Pooling is ours; a pooler that nothing reads would be parameters that no gradient reaches.
    model_class = cast(Any, MODEL_MAPPING)[type(config)]
    if "add_pooling_layer" in inspect.signature(model_class).parameters:
        options["add_pooling_layer"] = False
    try:
        with _quiet_transformers():
            backbone, report = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueEvalError(
            f"{folder}: its weights cannot be read: {str(error).strip().splitlines()[0]}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ValueEvalError(
            f"{folder}: its weights lack {len(missing)} tensors of a {config.model_type} encoder "
            f"({missing[0]} …); they would be random"
        )
    return cast(nn.Module, backbone)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a Transformers model directory.

    Raises:
        ValueEvalError: There is none, or it has no padding token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueEvalError(
            f"{folder}: its tokenizer cannot be read: {str(error).strip().splitlines()[0]}"
        ) from error
    pad_token(tokenizer)
    return cast(PreTrainedTokenizerBase, tokenizer)


def pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The number of the padding token."""
    if tokenizer.pad_token_id is None:
        raise ValueEvalError(f"{tokenizer.name_or_path}: its tokenizer has no padding token")
    return cast(int, tokenizer.pad_token_id)


def check_max_length(
    backbone: nn.Module, tokenizer: PreTrainedTokenizerBase, limit: int, virtual: int = 0
) -> None:
    """Refuses an input limit beyond what model or tokenizer can take beside virtual tokens."""
    positions = getattr(cast(Any, backbone).config, "max_position_embeddings", None)
    most = min(tokenizer.model_max_length, positions or tokenizer.model_max_length) - virtual
    if limit > most:
        beside = f" and {virtual} virtual tokens" if virtual else ""
        raise ValueEvalError(
            f"max_length: {limit}; allowed for this base model{beside}: at most {most}"
        )


def encode(
    tokenizer: PreTrainedTokenizerBase, arguments: Sequence[Argument], form: InputFormat
) -> Encoded:
    """Tokenizes arguments; what is too long loses tokens from the end of its longest segment."""
    if not arguments:
        return Encoded([], 0)
    columns = list(zip(*(form.texts(argument) for argument in arguments), strict=True))
    options: dict[str, Any] = {"return_attention_mask": False, "padding": False, "verbose": False}
    cut = tokenizer(
        *(list(column) for column in columns),
        truncation="longest_first",
        max_length=form.max_length,
        **options,
    )
    inputs = [
        {key: cut[key][row] for key in cut if key in tokenizer.model_input_names}
        for row in range(len(arguments))
    ]
    # Only what fills the limit can have been cut: those few are tokenized again, uncut.
    full = [row for row, item in enumerate(inputs) if len(item["input_ids"]) >= form.max_length]
    truncated = 0
    if full:
        uncut = tokenizer(*([column[row] for row in full] for column in columns), **options)
        truncated = sum(len(ids) > form.max_length for ids in uncut["input_ids"])
    return Encoded(inputs, truncated)


def collate(
    encoded: Encoded, rows: Sequence[int], padding: int, device: torch.device | str = "cpu"
) -> Batch:
    """Pads some arguments to the longest of them: tensors of shape (rows, longest).

    Args:
        encoded: All arguments.
        rows: Which of them go into the batch.
        padding: The padding token's number.
        device: Where the tensors should be.
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


def predict_logits(model: nn.Module, encoded: Encoded, batch_size: int, padding: int) -> np.ndarray:
    """Logits (arguments, 20), float32, of a model that is in evaluation mode; longest first."""
    device = next(model.parameters()).device
    return logits_in_batches(
        model, encoded.lengths, batch_size, lambda rows: collate(encoded, rows, padding, device)
    )


def logits_in_batches(
    model: nn.Module,
    lengths: Sequence[int],
    batch_size: int,
    batch: Callable[[Sequence[int]], Batch],
) -> np.ndarray:
    """As `predict_logits`, of anything with a length that `batch` can make a batch of."""
    if batch_size < 1:
        raise ValueEvalError(f"batch_size: {batch_size}; allowed: 1 or more")
    logits = np.zeros((len(lengths), len(VALUE_NAMES)), dtype=np.float32)
    with torch.inference_mode():
        for rows in batches_by_length(lengths, batch_size):
            logits[rows] = model(**batch(rows)).float().cpu().numpy()
    return logits


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first (what does not fit fails at once)."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without Transformers' bars for single files, and its report on the pooler left out."""
    logging = cast(Any, transformers_logging)
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _refuse_other_than_encoder(config: Any, folder: Path) -> None:
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.is_encoder_decoder or not encoder or getattr(config, "is_decoder", False):
        raise ValueEvalError(
            f"{folder}: a {config.model_type} model is not an encoder; a linear head (method full) "
            "needs one, such as minilm, BERT, RoBERTa, DeBERTa or ModernBERT"
        )

"""Fingerprints: hashes of what answers depend on, and what results tell about an adapter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from valueeval.adapters.directory.base import weight_hash
from valueeval.adapters.directory.hub import PEFT_CONFIG, PEFT_WEIGHTS

# Arguments of hf that say where and how fast a model runs, or whose effect is hashed otherwise
# (weights, adapter, tokenizer).
_WITHOUT_EFFECT = {
    "device", "batch_size", "max_batch_size", "parallelize", "max_memory_per_gpu", "max_cpu_memory",
    "offload_folder", "logits_cache", "peft", "tokenizer",
}  # fmt: skip


def method_name(config: Any) -> str:
    """Return the name that `valueeval train --method` has for a PEFT method."""
    return str(config.peft_type.value).lower().replace("_", "-")


def adapter_size(model: Any) -> int:
    """Return the number of parameters in the file of a PEFT adapter."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return sum(int(tensor.numel()) for tensor in state.values())


def adapter_hash(peft: str | None) -> str | None:
    """Return the SHA-256 (hex) of the weights in a folder with a PEFT adapter."""
    return weight_hash([Path(peft) / PEFT_WEIGHTS]) if peft else None


def weights_of(pretrained: Any, model: Any, given: Mapping[str, Any]) -> list[str | None]:
    """Return what identifies a model's weights: their hash, or hub id and commit.

    Args:
        pretrained: As ``hf``: a hub id, a folder, or a model.
        model: The model that was made of it.
        given: The other arguments of ``hf``.
    """
    if not isinstance(pretrained, str):
        return [_hash_of_tensors(model)]
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        folder /= given.get("subfolder") or ""
        return [weight_hash(_weights_in(folder))]
    return [pretrained, given.get("revision"), getattr(model.config, "_commit_hash", None)]


def answers_depend_on(
    model: Any, tokenizer: Any, pretrained: Any, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all that answers depend on beside requests, as far as it was given or loaded.

    Args:
        model: The model, or PEFT's wrapper of it.
        tokenizer: Its tokenizer.
        pretrained: As ``hf``.
        given: The other arguments of ``hf``. All count but those known to be without effect, so
            that a new argument of lm-eval or Transformers never mixes two models.
    """
    peft, delta = given.get("peft"), given.get("delta")
    generation = getattr(model, "generation_config", None)
    return {
        "given": {key: repr(given[key]) for key in sorted(given) if key not in _WITHOUT_EFFECT},
        "base": weights_of(pretrained, model, given),
        "adapter": adapter_hash(peft),
        "adapter config": _read_json(Path(peft) / PEFT_CONFIG) if peft else None,
        "delta": weight_hash(_weights_in(Path(str(delta)))) if delta else None,
        "config": _settings(model.config),
        "generation": _settings(generation) if generation is not None else None,
        "tokenizer": _tokenizer(tokenizer),
    }


def _settings(config: Any) -> dict[str, Any]:
    """Return a configuration without the entries that say where it came from."""
    origin = ("_name_or_path", "transformers_version", "_commit_hash")
    return {key: value for key, value in config.to_dict().items() if key not in origin}


def _tokenizer(tokenizer: Any) -> list[Any]:
    """Return what a tokenizer does, wherever it lies."""
    rules = getattr(tokenizer, "backend_tokenizer", None)
    words = rules.to_str() if rules is not None else sorted(tokenizer.get_vocab().items())
    return [type(tokenizer).__name__, words, tokenizer.special_tokens_map]


def _weights_in(folder: Path) -> list[Path]:
    return [file for kind in ("*.safetensors", "*.bin", "*.gguf") for file in folder.glob(kind)]


def _hash_of_tensors(model: Any) -> str:
    """Return the SHA-256 (hex) of a model in memory."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def digest(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of named parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    # The order of a set differs from process to process.
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))

"""Which model this is: hashes, sizes, names; and models that belong under another command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from valueeval.adapters.directory.base import fetch_base, hub_origin, resolve_base, weight_hash
from valueeval.adapters.directory.hub import PEFT_CONFIG, PEFT_WEIGHTS, local_folder
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_manifest
from valueeval.tasks.errors import ValueEvalError, first_line

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")
_LANGUAGE_MODELS = ("CAUSAL_LM", "SEQ_2_SEQ_LM")
# Arguments of hf that say where and how fast, or whose effect is told otherwise (weights, adapter,
# tokenizer).
_WITHOUT_EFFECT = {
    "device", "batch_size", "max_batch_size", "parallelize", "max_memory_per_gpu", "max_cpu_memory",
    "offload_folder", "logits_cache", "peft", "tokenizer",
}  # fmt: skip


def is_language_model(arguments: Mapping[str, Any]) -> bool:
    """Whether ``--model_args`` name a language model rather than a classifier with a head."""
    named = bool(arguments.get("pretrained") or arguments.get("peft"))
    if not arguments.get("adapter"):
        return named
    folder = local_folder(str(arguments["adapter"]))
    manifest = _read_json(folder / MANIFEST_FILE)
    if manifest is not None:
        return manifest.get("head") is None and manifest.get("template") is not None
    if named:
        return True
    config = _read_json(folder / PEFT_CONFIG)
    return config is not None and config.get("task_type") in _LANGUAGE_MODELS


def is_plain_model(adapter: str) -> bool:
    """Whether what was named as an adapter is a folder with a model, and no adapter."""
    folder = Path(adapter).expanduser()
    return (folder / "config.json").is_file() and not any(
        (folder / name).is_file() for name in (MANIFEST_FILE, PEFT_CONFIG)
    )


def enter_adapter(arguments: dict[str, Any]) -> dict[str, Any]:
    """Enters in ``--model_args`` what their ``adapter`` or ``peft`` stands for.

    Returns:
        The arguments to make the model from: where these have an adapter's name on the hub, its
        folder in the cache.

    Raises:
        ValueEvalError: Arguments that do not go with the adapter; or as `local_folder` and
            `adapter_arguments`.
    """
    given = dict(arguments)
    if name := given.get("adapter"):
        folder = local_folder(name)
        given["adapter"] = str(folder)
        stands_for = adapter_arguments(str(folder))
        _refuse_other_weights(name, stands_for, given)
    elif given.get("peft") and not given.get("pretrained"):
        name = given["peft"]
        folder = local_folder(name, given.get("revision"))
        given["peft"] = str(folder)
        stands_for = adapter_arguments(str(folder))
    else:
        return given
    if given.get("pretrained") not in (None, stands_for["pretrained"]):
        stands_for.pop("revision", None)  # of the base that is not taken
    for key, value in stands_for.items():
        given.setdefault(key, value)
        fetched = value == str(folder) and hub_origin(folder)
        arguments.setdefault(key, name if fetched else value)
    return given


def _refuse_other_weights(
    name: str, stands_for: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Refuses arguments that put other weights under an adapter's manifest and thresholds."""
    peft, base = given.get("peft"), given.get("pretrained")
    if peft and "peft" not in stands_for:
        raise ValueEvalError(
            f"--model_args: adapter={name} is a whole model, on which no peft= is put. "
            f"Give one of them: peft={peft},pretrained={name} for the two together"
        )
    if peft and local_folder(peft).resolve() != Path(stands_for["peft"]).resolve():
        raise ValueEvalError(
            f"--model_args: adapter={name} and peft={peft} are two adapters; give one of them"
        )
    if base and "peft" not in stands_for and str(base) not in (name, stands_for["pretrained"]):
        raise ValueEvalError(
            f"--model_args: adapter={name} is a whole model, all of whose weights were trained: "
            f"leave out pretrained={base}, or adapter="
        )


def adapter_arguments(adapter: str) -> dict[str, Any]:
    """The arguments of ``hf`` that an adapter directory stands for.

    Raises:
        ValueEvalError: Its base model is not named in it.
    """
    folder = Path(adapter).expanduser()
    config = _read_json(folder / PEFT_CONFIG)
    if config is None:
        return {"pretrained": str(folder)}  # all weights trained
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    manifest = _read_json(folder / MANIFEST_FILE)
    if manifest is not None:
        named = manifest.get("base_model", {})
        base, revision = named.get("name") or base, named.get("revision")
    if not base:
        raise ValueEvalError(
            f"{adapter}: {PEFT_CONFIG} does not name its base model: add pretrained=MODEL."
        )
    found = {"pretrained": resolve_base(base), "peft": str(folder)}
    if revision and not Path(found["pretrained"]).is_dir():
        found["revision"] = revision
    return found


def read_template_manifest(adapter: str | None) -> Manifest | None:
    """The manifest of an adapter; None if it has none (PEFT's files alone)."""
    if adapter is None:
        return None
    folder = local_folder(adapter)
    return read_manifest(folder) if (folder / MANIFEST_FILE).is_file() else None


def check_base(manifest: Manifest | None, pretrained: Any, revision: str | None = None) -> None:
    """Refuses a base model that is not the one that an adapter was trained on.

    Args:
        manifest: The adapter's; without one nothing is known.
        pretrained: A folder or a hub id (which is fetched); a model in memory is not checked.
        revision: Branch, tag or commit of a hub id; None is its main branch.

    Raises:
        ValueEvalError: Their weights differ, or the hub does not give them.
    """
    if manifest is None or not isinstance(pretrained, str):
        return
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        found = weight_hash(folder.glob("*.safetensors"))
    else:
        found = fetch_base(pretrained, revision).sha256
    named = manifest.base_model
    if found != named.sha256:
        at = f" at revision {named.revision}" if named.revision else ""
        raise ValueEvalError(
            f"{pretrained}: not the base model of this adapter, which is {named.name}{at} "
            f"(SHA-256 {named.sha256[:12]}…, here {found[:12]}…): its scores would be "
            "meaningless.\nGive the right one: pretrained=MODEL (and revision=COMMIT on the hub)."
        )


def refuse_classifier(pretrained: str, kwargs: Mapping[str, Any]) -> None:
    """Refuses a model that is no language model: it would get a random head, and a score.

    Raises:
        ValueEvalError: It is an encoder or has a classifier's head (as `valueeval train` puts one
            on a decoder, too); says what to run.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if kwargs.get("gguf_file"):
        return
    try:
        config = AutoConfig.from_pretrained(
            resolve_base(pretrained),
            revision=kwargs.get("revision") or "main",
            trust_remote_code=bool(kwargs.get("trust_remote_code", False)),
            subfolder=kwargs.get("subfolder") or "",
        )
    except (OSError, ValueError) as error:
        raise ValueEvalError(
            f"pretrained={pretrained}: no model that can be read there, nor on the hub "
            f"({first_line(error)})"
        ) from error
    manifest = _read_json(Path(pretrained) / MANIFEST_FILE) or {}
    names = tuple(config.architectures or ())
    classifier = any(name.endswith(_CLASSIFIERS) for name in names) or bool(manifest.get("head"))
    encoder = any(name.endswith("EncoderModel") for name in names) or (
        config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and not getattr(config, "is_encoder_decoder", False)
        and not getattr(config, "is_decoder", False)
        and not _named_causal(config, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    )
    if not classifier and not encoder:
        return
    what = "a classifier" if classifier else "an encoder"
    if manifest:
        command = f"--model valueeval --model_args adapter={pretrained}"
    else:
        command = (
            f"train a head for it first: valueeval train --method full --base {pretrained} "
            "--output DIR,\nthen --model valueeval --model_args adapter=DIR"
        )
    raise ValueEvalError(
        f"{pretrained} is {what} ({config.model_type}), no language model: as one it would get a "
        f"random head and a meaningless score.\nInstead: {command}"
    )


def _named_causal(config: Any, names: Mapping[str, Any]) -> bool:
    """Whether it was saved as a causal model, by the class that Transformers has for its type."""
    return names.get(config.model_type) in (config.architectures or ())


def method_name(config: Any) -> str:
    """A PEFT method as `valueeval train --method` calls it: ``lora``, ``prompt-tuning`` …."""
    return str(config.peft_type.value).lower().replace("_", "-")


def adapter_size(model: Any) -> int:
    """Parameters that a PEFT adapter's file holds."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return sum(int(tensor.numel()) for tensor in state.values())


def adapter_hash(peft: str | None) -> str | None:
    """SHA-256 (hex) of the weights in a folder with a PEFT adapter."""
    return weight_hash([Path(peft) / PEFT_WEIGHTS]) if peft else None


def weights_of(pretrained: Any, model: Any, given: Mapping[str, Any]) -> list[str | None]:
    """What identifies a model's weights: their hash, or hub id and commit.

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
    """All that answers depend on beside requests, as far as it was given or loaded.

    Args:
        model: The model, or PEFT's wrapper of it.
        tokenizer: Its tokenizer.
        pretrained: As ``hf``.
        given: The other arguments of ``hf``. What is not known to be without effect counts, so that
            a new argument of lm-eval or Transformers never mixes two models.
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
    """A configuration without what says where it came from."""
    origin = ("_name_or_path", "transformers_version", "_commit_hash")
    return {key: value for key, value in config.to_dict().items() if key not in origin}


def _tokenizer(tokenizer: Any) -> list[Any]:
    """What a tokenizer does, wherever it lies."""
    rules = getattr(tokenizer, "backend_tokenizer", None)
    words = rules.to_str() if rules is not None else sorted(tokenizer.get_vocab().items())
    return [type(tokenizer).__name__, words, tokenizer.special_tokens_map]


def _weights_in(folder: Path) -> list[Path]:
    return [file for kind in ("*.safetensors", "*.bin", "*.gguf") for file in folder.glob(kind)]


def _hash_of_tensors(model: Any) -> str:
    """SHA-256 (hex) of a model in memory."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def digest(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of named parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    # The order of a set differs from process to process.
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None

"""Which model this is: hashes, sizes, names; and models that belong under another command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valueeval.adapters.base import hub_origin, resolve_base, weight_hash
from valueeval.adapters.hub import PEFT_CONFIG, PEFT_WEIGHTS, local_folder
from valueeval.adapters.manifest import MANIFEST_FILE, Manifest, read_manifest
from valueeval.tasks.errors import ValueEvalError

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")
_LANGUAGE_MODELS = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


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


def enter_adapter(arguments: dict[str, Any]) -> dict[str, Any]:
    """Enters in ``--model_args`` what their ``adapter`` stands for, where they do not say it.

    Returns:
        The arguments to make the model from: where these have an adapter's name on the hub, its
        folder in the cache.

    Raises:
        ValueEvalError: As `local_folder` and `adapter_arguments`.
    """
    given = dict(arguments)
    if name := given.get("adapter"):
        folder = local_folder(name)
        given["adapter"] = str(folder)
        for key, value in adapter_arguments(str(folder)).items():
            given.setdefault(key, value)
            fetched = value == str(folder) and hub_origin(folder)
            arguments.setdefault(key, name if fetched else value)
    return given


def adapter_arguments(adapter: str) -> dict[str, Any]:
    """The arguments of ``hf`` that an adapter directory stands for.

    Raises:
        ValueEvalError: Its base model is not named in it.
    """
    folder = Path(adapter).expanduser()
    config = _read_json(folder / PEFT_CONFIG)
    if config is None:
        return {"pretrained": str(folder)}  # all weights trained
    base = config.get("base_model_name_or_path")
    manifest = _read_json(folder / MANIFEST_FILE)
    if manifest is not None:
        base = manifest.get("base_model", {}).get("name") or base
    if not base:
        raise ValueEvalError(
            f"{adapter}: {PEFT_CONFIG} does not name its base model: add pretrained=MODEL."
        )
    return {"pretrained": resolve_base(base), "peft": str(folder)}


def read_template_manifest(adapter: str | None) -> Manifest | None:
    """The manifest of an adapter; None if it has none (PEFT's files alone)."""
    if adapter is None:
        return None
    folder = local_folder(adapter)
    return read_manifest(folder) if (folder / MANIFEST_FILE).is_file() else None


def check_base(manifest: Manifest | None, pretrained: Any) -> None:
    """Refuses a local base model that is not the one that an adapter was trained on.

    Raises:
        ValueEvalError: Their weights differ.
    """
    folder = Path(str(pretrained)).expanduser()
    if manifest is None or not folder.is_dir():
        return
    found = weight_hash(folder.glob("*.safetensors"))
    if found != manifest.base_model.sha256:
        raise ValueEvalError(
            f"{pretrained}: not the base model of this adapter, which is "
            f"{manifest.base_model.name} (SHA-256 {manifest.base_model.sha256[:12]}…, here "
            f"{found[:12]}…).\nGive the right one: pretrained=MODEL."
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
    config = AutoConfig.from_pretrained(
        resolve_base(pretrained),
        revision=kwargs.get("revision") or "main",
        trust_remote_code=bool(kwargs.get("trust_remote_code", False)),
        subfolder=kwargs.get("subfolder") or "",
    )
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


def weights_of(pretrained: Any, revision: str | None, config: Any) -> list[str | None]:
    """What identifies a base model: the hash of local weights, or hub id and commit."""
    folder = Path(str(pretrained)).expanduser()
    if folder.is_dir():
        files = [
            file for kind in ("*.safetensors", "*.bin", "*.gguf") for file in folder.glob(kind)
        ]
        return [weight_hash(files)]
    return [str(pretrained), revision, getattr(config, "_commit_hash", None)]


def digest(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of named parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def own_table(cache: Any, key: str) -> None:
    """Moves an open cache of lm-eval (a SqliteDict) to a table of its own in the same file."""
    if cache is None:
        return
    cache.tablename = f"valueeval_{key[:32]}"
    cache.conn.execute(
        f'CREATE TABLE IF NOT EXISTS "{cache.tablename}" (key TEXT PRIMARY KEY, value BLOB)'
    )
    cache.conn.commit()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None

"""Which base models can be evaluated as language models, and with which adapter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valueeval.adapters.directory.base import fetch_base, resolve_base, weight_hash
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import PEFT_CONFIG
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_content
from valueeval.tasks.errors import ValueEvalError, first_line

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")


def is_plain_model(adapter: str) -> bool:
    """Return whether a folder holds a model and is no adapter directory."""
    folder = Path(adapter).expanduser()
    # False of a name that is too long for a path.
    return os.path.isfile(folder / "config.json") and not any(
        (folder / name).is_file() for name in (MANIFEST_FILE, PEFT_CONFIG)
    )


def check_base(adapter: str, manifest: Manifest, pretrained: str, revision: str | None) -> None:
    """Refuse a base model that is not the one that an adapter was trained on.

    Args:
        adapter: Name of the adapter.
        manifest: Its manifest.
        pretrained: A folder or a hub id (which is fetched).
        revision: Branch, tag or commit of a hub id; None is its main branch.

    Raises:
        ValueEvalError: Their weights differ, or the hub does not give them.
    """
    folder = Path(pretrained).expanduser()
    if os.path.isdir(folder):
        sha256 = weight_hash(folder.glob("*.safetensors"))
    else:
        sha256 = fetch_base(pretrained, revision).sha256
    remedy = "\nGive the right base: pretrained=MODEL (and revision=COMMIT on the hub)."
    manifest.base_model.refuse_other(adapter, pretrained, sha256, remedy)


def refuse_classifier(
    pretrained: str, kwargs: Mapping[str, Any], manifest: Manifest | None
) -> None:
    """Refuse a model that is no language model: it would get a random head, and a score.

    Args:
        pretrained: A folder or a hub id.
        kwargs: The other arguments of ``hf``.
        manifest: Manifest of that folder, where it was read already.

    Raises:
        ValueEvalError: It is an encoder or has a classifier's head (`valueeval train` can put one
            on a decoder); the message says what to run.
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
    if manifest is not None:
        is_adapter, has_head = True, manifest.head is not None
    else:
        is_adapter, has_head = _manifest_names_head(Path(pretrained))
    names = tuple(config.architectures or ())
    classifier = any(name.endswith(_CLASSIFIERS) for name in names) or has_head
    # A type that is both is what it was saved as.
    saved_as_causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) in names
    encoder = any(name.endswith("EncoderModel") for name in names) or (
        config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and not getattr(config, "is_encoder_decoder", False)
        and not getattr(config, "is_decoder", False)
        and not saved_as_causal
    )
    if not classifier and not encoder:
        return
    kind = "a classifier" if classifier else "an encoder"
    if is_adapter:
        command = f"--model valueeval --model_args adapter={pretrained}"
    else:
        command = (
            f"train a head for it first: valueeval train --method full --base {pretrained} "
            "--output DIR,\nthen --model valueeval --model_args adapter=DIR"
        )
    raise ValueEvalError(
        f"{pretrained} is {kind} ({config.model_type}), no language model: as one it would get a "
        f"random head and a meaningless score.\nInstead: {command}"
    )


def _manifest_names_head(folder: Path) -> tuple[bool, bool]:
    """Return whether a folder has a manifest, and whether that names a classifier's head."""
    if not os.path.isfile(folder / MANIFEST_FILE):
        return False, False
    try:
        content = read_content(folder)
    except ManifestError:
        return False, False
    return isinstance(content, Mapping), isinstance(content, Mapping) and bool(content.get("head"))

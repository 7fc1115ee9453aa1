"""Put a PEFT adapter on its base model, only if its weights fit.

PEFT leaves a parameter that the file lacks at its random start and ignores a tensor that it does
not know, so that another model is scored under the adapter's name.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import PEFT_CONFIG, PEFT_WEIGHTS
from valueeval.adapters.directory.peft_config import check_patterns, read_peft_config
from valueeval.adapters.directory.tensors import check_tensors
from valueeval.tasks.errors import first_line

if TYPE_CHECKING:
    from peft import PeftModel


def put_adapter(base: Any, folder: Path) -> PeftModel:
    """Return the base model with the adapter of a folder on it.

    Raises:
        ManifestError: The adapter cannot be read, or its weights are not those that PEFT expects
            for its configuration and this base model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        config = read_peft_config(folder)
        check_patterns(config, (name for name, _ in base.named_modules()), folder / PEFT_CONFIG)
        with warnings.catch_warnings():
            # `check_peft_weights` refuses what this warns of.
            warnings.filterwarnings("ignore", "Found missing adapter keys")
            model = PeftModel.from_pretrained(base, folder)
    except ManifestError:
        raise
    except (
        *(OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError),
        SafetensorError,
    ) as error:
        raise ManifestError(
            f"{folder}: {_reason(error)}\nGive the base model that it was trained on."
        ) from error
    check_peft_weights(model, folder)
    return model


def held_embeddings(base: Any, folder: Path) -> tuple[int | None, int | None]:
    """Return for how many tokens an adapter holds input and output embeddings; None: it has none.

    Args:
        base: The base model that it goes on.
        folder: The adapter's folder.
    """
    from safetensors import SafetensorError, safe_open

    names = {module: name for name, module in base.named_modules()}
    rows: list[int | None] = []
    try:
        with safe_open(folder / PEFT_WEIGHTS, "pt") as weights:
            there = set(weights.keys())
            for module in (base.get_input_embeddings(), base.get_output_embeddings()):
                # PEFT's names: resized or in modules_to_save; beside a LoRA of them.
                own = {
                    f"base_model.model.{names.get(module)}.{x}weight" for x in ("", "base_layer.")
                }
                found = sorted(own & there)
                rows.append(weights.get_slice(found[0]).get_shape()[0] if found else None)
    except (OSError, SafetensorError, IndexError):  # `put_adapter` says what is wrong
        return None, None
    return rows[0], rows[1]


def check_peft_weights(model: PeftModel, folder: Path) -> None:
    """Compare names, shapes and number types of an adapter's weights with what PEFT expects.

    Args:
        model: The base model with the adapter on it.
        folder: The folder that the adapter was loaded from.

    Raises:
        ManifestError: Names the first three tensors that do not fit.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    found = _converted(model, load_file(folder / PEFT_WEIGHTS))
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    # PEFT saves the base's embeddings beside the adapter where tokens were added.
    embeddings = get_peft_model_state_dict(model, save_embedding_layers=True)
    check_tensors(folder / PEFT_WEIGHTS, found, embeddings, optional=embeddings.keys() - own.keys())


def _converted(model: PeftModel, found: dict[str, Any]) -> dict[str, Any]:
    """Return an adapter's weights under the names that they have in this version of a model.

    Transformers 5 joins the experts of models such as Mixtral, and PEFT those of their adapters.
    """
    try:
        from peft.utils.transformers_weight_conversion import (
            convert_peft_adapter_state_dict_for_transformers as convert,
        )
    except ImportError:  # a version that does not
        return found
    converted: dict[str, Any] = convert(model, model.peft_config["default"], found)
    return converted


def _reason(error: Exception) -> str:
    """Return what PEFT says, the tensors that it names included."""
    if isinstance(error, KeyError):
        return f"its adapter lacks {error}"
    named = [line.strip() for line in str(error).splitlines()[1:4]]
    return "; ".join(["its PEFT adapter cannot be read: " + first_line(error).rstrip(": "), *named])

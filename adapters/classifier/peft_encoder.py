"""Models with a PEFT adapter and a head: read from an adapter directory and written to one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import cast

from peft import PeftModel
from torch import nn

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import PEFT_WEIGHTS
from valueeval.adapters.directory.peft_files import put_adapter

TASK_TYPE = "FEATURE_EXTRACTION"  # PEFT's name for a model whose output is hidden states


def load_peft(backbone: nn.Module, folder: Path) -> nn.Module:
    """Return the base model with the adapter of a folder on it.

    Raises:
        ManifestError: There is none, it is for another kind of model, it cannot be read, or its
            weights do not fit.
    """
    # Without it PEFT would look for a pickle.
    if not (folder / PEFT_WEIGHTS).is_file():
        raise ManifestError(f"{folder}: {PEFT_WEIGHTS} is missing; copy the directory again")
    with quiet_peft():
        model = put_adapter(backbone, folder)
    task = model.peft_config["default"].task_type
    if task != TASK_TYPE:
        raise ManifestError(f"{folder}: a PEFT adapter for {task}; allowed: {TASK_TYPE}")
    return cast(nn.Module, model)


def save_peft(model: PeftModel, folder: Path) -> None:
    """Write PEFT's own files, ``adapter_config.json`` and ``adapter_model.safetensors``."""
    config = model.peft_config["default"]
    for field in fields(config):
        # PEFT writes sets in an order that depends on the process's hash seed.
        if isinstance(value := getattr(config, field.name), set):
            setattr(config, field.name, sorted(value))
    with quiet_peft():
        # Embeddings stay as they are; left to itself, PEFT asks the hub about it.
        model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()  # an empty form


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence PEFT's complaints about what it does itself."""
    with warnings.catch_warnings():
        # GPT-2's layers: PEFT sees for itself that their weights stand the other way.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        yield

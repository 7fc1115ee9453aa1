"""Models' names as names of folders, as lm-eval makes them (`EvaluationTracker`)."""

from __future__ import annotations

import hashlib
import re

ADAPTER_ARGUMENTS = ("peft", "delta", "lora_local_path")
"""Model arguments of ``hf`` and ``vllm`` that name what was trained on the base ``pretrained``."""
# File systems allow 255 bytes.
_LONGEST = 255
# Not imported from lm_eval.utils, which takes half a second that `valueeval archive` need not wait.
_NOT_IN_NAMES = re.compile(r"[\"<>:/|\\?*\[\]]+")


def sanitized(model: str) -> str:
    """Return the name of the folder that lm-eval gives a model (`sanitize_model_name`)."""
    return _NOT_IN_NAMES.sub("__", model)


def shortened(model: str) -> str:
    """Return a model's name, shortened where it could be no folder's.

    That happens to averages of adapters in deep folders: lm-eval would only warn, and the results
    would be lost. The members' own names are kept, and a hash of the whole tells it from others.
    """
    if len(sanitized(model).encode()) <= _LONGEST:
        return model
    own = sanitized("+".join(part.rpartition("/")[2] for part in model.split("+")))
    end = f"-{hashlib.sha256(model.encode()).hexdigest()[:12]}"
    return own.encode()[: _LONGEST - len(end)].decode(errors="ignore") + end

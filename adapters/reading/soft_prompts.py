"""Soft prompts of PEFT adapters: virtual tokens, as embeddings or as keys and values.

PEFT's own classes prepend virtual tokens to a padded batch wherever its padding stands, and do not
tell how much of the context they take. Here both follow from the adapter's configuration.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType

from valueeval.adapters.directory.base import hub_origin
from valueeval.adapters.directory.hub import PEFT_CONFIG, PEFT_WEIGHTS
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE
from valueeval.adapters.directory.peft_config import read_peft_config
from valueeval.tasks.errors import ValueEvalError

_EMBEDDED = (PeftType.PROMPT_TUNING, PeftType.P_TUNING)
_KEYS_AND_VALUES = (PeftType.PREFIX_TUNING,)


class SoftPrompt:
    """The virtual tokens of a model; none for a model without an adapter, or with LoRA or IA3.

    Attributes:
        base: The Transformers model, with the adapter's changes to its layers.
        length: Number of virtual tokens.
        embedded: Whether they are embeddings before the text's (prompt tuning, P-tuning); otherwise
            they are keys and values in every layer (prefix-tuning).

    Raises:
        ValueEvalError: The adapter's method is not supported; the message says which are.
    """

    def __init__(self, model: Any) -> None:
        self._peft = model
        self.base, self.length, self.embedded = model, 0, False
        if not isinstance(model, PeftModel):
            return
        self.base = model.get_base_model()
        config = model.active_peft_config
        _check_method(config)
        if config.is_prompt_learning:
            self.length = config.num_virtual_tokens
            self.embedded = config.peft_type in _EMBEDDED

    @property
    def in_cache(self) -> bool:
        """Return True if the virtual tokens are keys and values."""
        return self.length > 0 and not self.embedded

    def embeddings(self, batch: int) -> torch.Tensor:
        """Return the virtual tokens as embeddings: (batch, length, width)."""
        # A T5 adapter may hold a second set, for the decoder, that PEFT does not use either.
        prompt: torch.Tensor = self._peft.get_prompt(batch_size=batch)[:, : self.length]
        return prompt.to(self.base.get_input_embeddings().weight.dtype)

    def cache(self, batch: int) -> Any:
        """Return the virtual tokens as a cache of Transformers, in the kind of the architecture."""
        return self._peft.get_prompt(batch_size=batch)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return embeddings of virtual tokens and tokens (batch, n): (batch, length + n, width)."""
        text = self._peft.word_embeddings(tokens)
        return torch.cat([self.embeddings(len(tokens)).to(text.dtype), text], dim=1)


def virtual_tokens(model: Any) -> int:
    """Return how many tokens of a model's context its soft prompt takes."""
    if not isinstance(model, PeftModel) or not model.active_peft_config.is_prompt_learning:
        return 0
    config = model.active_peft_config
    # An encoder-decoder's prefix stands before the decoder's tokens; the text is the encoder's.
    inside_decoder = config.peft_type in _KEYS_AND_VALUES and config.task_type == "SEQ_2_SEQ_LM"
    return 0 if inside_decoder else int(config.num_virtual_tokens)


def check_kind(peft: str, config: PeftConfig, backend: str) -> None:
    """Refuse an adapter for another kind of language model than its base is.

    Args:
        peft: A folder with an adapter.
        config: Its configuration.
        backend: lm-eval's name of the base's architecture: ``causal`` or ``seq2seq``.

    Raises:
        ValueEvalError: PEFT would put it where it was not trained, or fail.
    """
    task_type = config.task_type
    expected = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}[backend]
    if task_type not in (None, expected):
        kind = {"causal": "a decoder", "seq2seq": "an encoder-decoder"}[backend]
        raise ValueEvalError(
            f"peft={peft}: an adapter for {task_type}, but the base model is {kind} ({expected}).\n"
            f'If it was trained on this base: set "task_type": "{expected}" in its {PEFT_CONFIG}; '
            "else give the base that it was trained on: pretrained=MODEL"
        )


def check_adapter(peft: str) -> PeftConfig:
    """Return the configuration of an adapter; refuse it before its base model is loaded.

    Args:
        peft: A folder.

    Raises:
        ValueEvalError: The folder holds no adapter or one with a classifier's head, its weights are
            no safetensors, or its method is not supported.
    """
    if not os.path.isdir(peft):  # False of a name that is too long for a path
        raise ValueEvalError(
            f"peft={peft}: no PEFT adapter there (no such folder, and no org/name of the hub)"
        )
    if not (Path(peft) / PEFT_CONFIG).exists():
        if (Path(peft) / MANIFEST_FILE).is_file():
            raise ValueEvalError(
                f"peft={peft}: an adapter directory without a PEFT adapter in it: "
                f"--model valueeval --model_args adapter={peft}"
            )
        raise ValueEvalError(f"peft={peft}: no PEFT adapter there (no {PEFT_CONFIG})")
    config = read_peft_config(Path(peft))
    if config.task_type not in (None, "CAUSAL_LM", "SEQ_2_SEQ_LM"):
        raise ValueEvalError(
            f"{peft} is an adapter for {config.task_type}, not of a language model: as one it "
            "would get a random head.\nIf `valueeval train` wrote it: "
            f"--model valueeval --model_args adapter={peft}"
        )
    _check_method(config)
    _check_weights(Path(peft))
    return config


def _check_weights(folder: Path) -> None:
    """Refuse a folder without safetensors, where PEFT would unpickle ``adapter_model.bin``."""
    pickle = folder / "adapter_model.bin"
    if (folder / PEFT_WEIGHTS).is_file():
        return
    if origin := hub_origin(folder):
        repo, _, commit = origin.partition("@")
        raise ValueEvalError(
            f"peft={repo}: no {PEFT_WEIGHTS} in it, and nothing else is read: adapter_model.bin is "
            "a pickle, which can run code.\nIf you trust it: "
            f"hf download {repo} --revision {commit} --local-dir DIR, then peft=DIR says how to "
            "convert it"
        )
    if not pickle.is_file():
        raise ValueEvalError(f"peft={folder}: {PEFT_WEIGHTS} is missing; copy the directory again")
    raise ValueEvalError(
        f"peft={folder}: only safetensors are read, and {pickle.name} is a pickle, which can run "
        f"code.\nIf you trust it, convert it: {_conversion(folder, pickle)}"
    )


def _conversion(folder: Path, pickle: Path) -> str:
    """Return the command that converts a pickle to safetensors without running code from it."""
    program = (
        "import torch, safetensors.torch as s; "
        f"w = torch.load({str(pickle)!r}, map_location='cpu', weights_only=True); "
        f"s.save_file({{k: v.clone() for k, v in w.items()}}, {str(folder / PEFT_WEIGHTS)!r})"
    )
    return f"python -c {shlex.quote(program)}"


def _check_method(config: Any) -> None:
    method = config.peft_type
    name = str(getattr(method, "value", method))
    if method == PeftType.MULTITASK_PROMPT_TUNING:
        raise ValueEvalError(
            "adapter: multitask prompt tuning needs a task number with every input, and lm-eval "
            "gives none.\nConvert it to prompt tuning for one task, or train the adapter so."
        )
    if getattr(config, "alora_invocation_tokens", None):
        raise ValueEvalError(
            "adapter: an activated LoRA (alora_invocation_tokens) is not supported; use --model hf."
        )
    if config.is_prompt_learning and method not in (*_EMBEDDED, *_KEYS_AND_VALUES):
        known = ", ".join(m.value for m in (*_EMBEDDED, *_KEYS_AND_VALUES))
        raise ValueEvalError(
            f"adapter: soft prompts of type {name} are not supported; allowed: {known}.\n"
            "Use --model hf with batch_size=1 for it."
        )

"""The pretrained model under a head: an encoder, the encoder of a T5, or a decoder."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import util
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING,
)
from transformers.utils import logging as transformers_logging

from valueeval.tasks.errors import ValueEvalError, first_line

# Encoder-decoders whose encoder has a class of its own in Transformers, which anyone's PEFT loads.
_T5_FAMILY = ("t5", "mt5", "umt5")
# Packages without which Transformers reads no SentencePiece file, and their modules.
_SENTENCEPIECE = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
_WORDS = "We should protect nature: people need it."  # any text


def load_backbone(folder: Path) -> nn.Module:
    """Return the model of a Transformers model directory, in float32, without its pooler.

    For the T5 family it is the encoder alone.

    Raises:
        ValueEvalError: The model cannot have a head, or cannot be read.
    """
    config = read_config(folder)
    _refuse_what_takes_no_head(config, folder)
    if is_causal(config):
        config.use_cache = False  # nothing is generated: keys and values need not be kept
    options: dict[str, Any] = {}
    # Pooling is ours; a pooler that nothing reads would be parameters that no gradient reaches.
    model_class = cast(Any, MODEL_MAPPING)[type(config)]
    if "add_pooling_layer" in inspect.signature(model_class).parameters:
        options["add_pooling_layer"] = False
    return load_weights(auto_class(config), folder, config, kind_of(config), **options)


def read_config(folder: Path) -> Any:
    """Return the configuration of a Transformers model directory.

    Raises:
        ValueEvalError: It is missing, or of a kind that Transformers does not know.
    """
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueEvalError(
            f"{folder}: its config.json cannot be used: {first_line(error)}"
        ) from error


def load_weights(loader: Any, folder: Path, config: Any, what: str, **options: Any) -> nn.Module:
    """Return the model of a Transformers model directory, in float32, from safetensors.

    Args:
        loader: The class of Transformers that loads it, such as ``AutoModel``.
        folder: The directory.
        config: Its configuration.
        what: The name of the model in messages.
        **options: For ``from_pretrained``.

    Raises:
        ValueEvalError: The weights are quantised, cannot be read, or some are missing.
    """
    _refuse_quantised(config, folder)
    try:
        with quiet_transformers():
            model, report = loader.from_pretrained(
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
            f"{folder}: its weights cannot be read: {first_line(error)}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ValueEvalError(
            f"{folder}: its weights lack {len(missing)} tensors of a {config.model_type} "
            f"{what} ({missing[0]} …); they would be random"
        )
    return cast(nn.Module, model)


def auto_class(config: Any) -> Any:
    """Return the class of Transformers that loads a backbone: ``AutoModel``, but for a T5."""
    return AutoModelForTextEncoding if config.model_type in _T5_FAMILY else AutoModel


def is_causal(config: Any) -> bool:
    """Return True if a token sees no later one, by the model's configuration."""
    name = getattr(config, "model_type", "")
    if name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or config.is_encoder_decoder:
        return False
    if name in MODEL_FOR_MASKED_LM_MAPPING_NAMES:  # both, like BERT
        return bool(getattr(config, "is_decoder", False))
    # Decoders that were trained further to be encoders.
    return getattr(config, "use_bidirectional_attention", False) is not True


def kind_of(config: Any) -> str:
    """Return the name of a backbone's kind in messages: ``"decoder"`` or ``"encoder"``."""
    return "decoder" if is_causal(config) else "encoder"


def knows_token_types(config: Any) -> bool:
    """Return True if token types tell the model about a pair of texts.

    A decoder would take them for words (GPT-2) or fail, even where its tokenizer returns some.
    """
    return not is_causal(config) and getattr(config, "model_type", "") not in _T5_FAMILY


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a Transformers model directory.

    Raises:
        ValueEvalError: It knows no words, cannot be read with the installed packages, or has no
            token to pad with.
    """
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueEvalError(_why_no_tokenizer(folder, error)) from error
    pad_token(tokenizer)
    _check_words(tokenizer, folder)
    return cast(PreTrainedTokenizerBase, tokenizer)


def _why_no_tokenizer(folder: Path, error: Exception) -> str:
    sentencepiece = sorted(folder.glob("*.model"))
    if sentencepiece and not (folder / "tokenizer.json").exists():
        missing = [name for name in _SENTENCEPIECE if not _installed(_SENTENCEPIECE[name])]
        if missing:
            # Transformers asks for tiktoken here, which does not help.
            return (
                f"{folder}: its tokenizer is a SentencePiece file ({sentencepiece[0].name}), which "
                f"takes more than is installed: pip install {' '.join(missing)}; or add its "
                "tokenizer.json"
            )
    return f"{folder}: its tokenizer cannot be read: {first_line(error)}"


def _installed(module: str) -> bool:
    with suppress(ImportError):  # its parent package is missing
        return util.find_spec(module) is not None
    return False


def _check_words(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse the tokenizer that Transformers makes in a folder without tokenizer files.

    It has special tokens only, so every text would be read as unknown words or as nothing.
    """
    tokens = set(tokenizer(_WORDS, add_special_tokens=False)["input_ids"])
    if len(tokens - set(tokenizer.all_special_ids)) < 2:  # one may stand for the space
        raise ValueEvalError(
            f"{folder}: its tokenizer knows no words of «{_WORDS}»; are its files there "
            "(tokenizer.json, vocab.txt, vocab.json with merges.txt, spiece.model …)? Copy them "
            "into the folder, beside the weights"
        )


def pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of the padding token, or of the end of text (GPT-2, Llama).

    Padding is masked, so any token would do, and the embeddings need no new one.

    Raises:
        ValueEvalError: The tokenizer has neither.
    """
    for number in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if number is not None:
            return cast(int, number)
    raise ValueEvalError(
        f"{tokenizer.name_or_path}: its tokenizer has no padding token and no end-of-text token"
    )


def check_max_length(
    backbone: nn.Module, tokenizer: PreTrainedTokenizerBase, limit: int, virtual: int = 0
) -> None:
    """Refuse an input limit that exceeds model or tokenizer, less the virtual tokens.

    Raises:
        ValueEvalError: The limit is too high.
    """
    positions = getattr(cast(Any, backbone).config, "max_position_embeddings", None) or 0
    most = tokenizer.model_max_length
    if positions > 0:  # XLNet says -1: it has no limit
        most = min(most, positions - _first_position(backbone))
    most -= virtual
    if limit > most:
        beside = f" and {virtual} virtual tokens" if virtual else ""
        raise ValueEvalError(
            f"max_length: {limit}; allowed for this base model{beside}: at most {most}"
        )


def _first_position(backbone: nn.Module) -> int:
    """Return the position of the first token: 0, but behind the padding's in RoBERTa and its kin.

    OPT and BioGPT also start at a later position, but their tables are larger by that offset.
    """
    for module in backbone.modules():
        padding = getattr(module, "padding_idx", None)
        if padding is not None and hasattr(module, "position_embeddings"):
            return cast(int, padding) + 1
    return 0


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence Transformers' bars for single files and its report on the missing pooler."""
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


def _refuse_quantised(config: Any, folder: Path) -> None:
    quantisation = getattr(config, "quantization_config", None)
    if not quantisation:
        return
    fields = quantisation if isinstance(quantisation, dict) else vars(quantisation)
    method = fields.get("quant_method") or "bitsandbytes"  # early configurations do not say it
    raise ValueEvalError(
        f"{folder}: its weights are quantised ({getattr(method, 'value', method)}), and cannot be "
        "trained further here: take the model that they were made from (its page on the hub names "
        "it)"
    )


def _refuse_what_takes_no_head(config: Any, folder: Path) -> None:
    name = config.model_type
    one_part = not config.is_encoder_decoder and (
        name in MODEL_FOR_MASKED_LM_MAPPING_NAMES or name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    )
    # Models of images and text keep the sizes of the text model elsewhere.
    if (one_part and hasattr(config, "hidden_size")) or name in _T5_FAMILY:
        return
    raise ValueEvalError(
        f"{folder}: a {name} model takes no head here: use an encoder of text "
        "(minilm, BERT, RoBERTa, DeBERTa, ModernBERT …), a decoder of text (GPT-2, Llama, Qwen …) "
        "or a T5 (Flan-T5, mT5, UMT5), whose encoder is used"
    )

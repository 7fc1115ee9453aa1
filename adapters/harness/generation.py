"""Settings of requests of type ``generate_until``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from valueeval.adapters.reading.stopping import Stop, other_decoding
from valueeval.tasks.errors import ValueEvalError


@dataclass(frozen=True)
class GenerationSettings:
    """How the answers to requests of one family are generated.

    Attributes:
        steps: Number of tokens to generate at most.
        room: Number of tokens of a prompt that leave room for the answer.
        stop: Ends an answer.
        other_decoding: A setting that asks for more than greedy decoding; None if there is none.
        beams: Number of beams.
    """

    steps: int
    room: int
    stop: Stop
    other_decoding: str | None
    beams: int


def generation_settings(lm: HFLM, request: Instance, max_length: int) -> GenerationSettings:
    """Return the settings of a request, which all of its family share.

    Args:
        lm: The model.
        request: The request.
        max_length: Number of tokens of text that fit, prompt and answer together (an
            encoder-decoder: prompt alone).

    Raises:
        ValueEvalError: The answer leaves no room for a prompt, or ``max_length`` is given for an
            encoder-decoder (``hf`` takes it for the length of its input as well).
    """
    kwargs = normalize_gen_kwargs(request.args[1], lm.max_gen_toks)
    if lm.backend == "seq2seq" and "max_length" in kwargs:
        raise ValueEvalError(
            f"{request.task_name}: max_length: an encoder-decoder's answer is limited by "
            "max_gen_toks (--gen_kwargs)"
        )
    steps = kwargs["max_gen_toks"]
    room = max_length if lm.backend == "seq2seq" else max_length - steps
    if room < 1:
        raise ValueEvalError(
            f"{request.task_name}: {steps} tokens to generate leave no room for the prompt: "
            f"{max_length} fit in all. Lower max_gen_toks (--gen_kwargs)."
        )
    defaults = getattr(lm.model, "generation_config", None)
    other = other_decoding(kwargs, defaults)
    if lm.think_end_token is not None:
        other = "think_end_token"
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    until = handle_stop_sequences(kwargs["until"], eos=eos)
    stop = Stop(lm.tokenizer, until, _end_tokens(defaults, lm.eot_token_id))
    beams = kwargs.get("num_beams") or getattr(defaults, "num_beams", None) or 1
    return GenerationSettings(steps, room, stop, other, int(beams))


def _end_tokens(defaults: Any, eot_token_id: int) -> set[int]:
    ends = getattr(defaults, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return {end for end in (*listed, eot_token_id) if end is not None}

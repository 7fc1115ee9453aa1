"""When a generated answer ends, and which requests our own greedy decoding can answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lm_eval.models.utils import postprocess_generated_text

from valueeval.adapters.reading.forms import Form

# Settings with which Transformers' generate() does more than take the best token, with the number
# that does nothing (as None and what is empty do); None: there is no such number.
_OTHER_DECODING = {
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "guidance_scale",
                     "num_beams"), 1),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length",
                     "min_new_tokens", "penalty_alpha"), 0),
    **dict.fromkeys(("bad_words_ids", "force_words_ids", "forced_bos_token_id",
                     "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens",
                     "sequence_bias", "exponential_decay_length_penalty", "watermarking_config",
                     "stop_strings", "max_time")),
}  # fmt: skip
_KNOWN_KEYS = {"do_sample", "temperature", "until", "max_gen_toks"}


def other_decoding(kwargs: Mapping[str, Any], generation_config: Any) -> str | None:
    """Return the setting that asks for more than greedy decoding; None if there is none.

    Args:
        kwargs: Generation settings of a request, normalised by lm-eval.
        generation_config: Generation settings of the model.
    """
    if kwargs.get("do_sample"):
        return "do_sample"
    for key in kwargs:
        if key not in _KNOWN_KEYS:
            return str(key)
    for key, neutral in _OTHER_DECODING.items():
        value = getattr(generation_config, key, None)
        if value not in (None, [], {}) and (neutral is None or value != neutral):
            return f"{key} in the model's generation_config.json"
    return None


class Stop:
    """Ends an answer at an end-of-sequence token or when a stop string has been written.

    Args:
        tokenizer: The model's tokenizer.
        until: Stop strings.
        ends: Tokens that end a sequence.

    Attributes:
        ends: Likewise.
    """

    def __init__(self, tokenizer: Any, until: Sequence[str], ends: set[int]) -> None:
        self._tokenizer = tokenizer
        self._until = [text for text in until if text]
        self.ends = ends
        lengths = [len(tokenizer.encode(text, add_special_tokens=False)) for text in self._until]
        # A model may write the same text with a token or two more; lm-eval looks as far back.
        self._tail = max(lengths, default=0) + 2

    def __call__(self, tokens: list[int]) -> bool:
        """Return whether an answer ends with the last of these tokens."""
        if tokens[-1] in self.ends:
            return True
        if not self._until:
            return False
        tail = self._tokenizer.decode(tokens[-self._tail :], skip_special_tokens=False)
        return any(text in tail for text in self._until)

    def text(self, tokens: list[int]) -> str:
        """Return the text of an answer up to the stop string."""
        if tokens and tokens[-1] in self.ends:
            tokens = tokens[:-1]
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        answer: str = postprocess_generated_text(text, self._until, None)
        return answer


class GreedyAnswers:
    """Answers that are decoded together, a token a step, each until it is done.

    Args:
        number: Number of answers.
        steps: Number of tokens of an answer at most.
        done: Returns whether an answer ends with the last of the tokens given to it.
        forms: The form of each answer; None for a free one.

    Attributes:
        tokens: Tokens of each answer so far.
    """

    def __init__(
        self,
        number: int,
        steps: int,
        done: Callable[[list[int]], bool],
        forms: Sequence[Form | None] | None = None,
    ) -> None:
        self.tokens: list[list[int]] = [[] for _ in range(number)]
        self._forms = [None] * number if forms is None else list(forms)
        self._growing = [steps > 0] * number
        self._steps, self._done = steps, done

    def choose(self, logits: torch.Tensor, answering: Sequence[bool] | None = None) -> list[int]:
        """Return the next token of each answer: the likeliest that its form allows.

        Args:
            logits: (answers, vocabulary).
            answering: Whether each answer's prompt has been read; None: all have.
        """
        chosen: list[int] = logits.argmax(dim=-1).tolist()
        for i, form in enumerate(self._forms):
            if form is not None and self._growing[i] and (answering is None or answering[i]):
                chosen[i] = form.choose(logits[i])
        return chosen

    def add(self, chosen: Sequence[int | None]) -> bool:
        """Append a token to each unfinished answer; return whether any is unfinished after that.

        Args:
            chosen: A token for each answer; None where its prompt is still being read.
        """
        for i, token in enumerate(chosen):
            if token is not None and self._growing[i]:
                answer = self.tokens[i]
                answer.append(token)
                self._growing[i] = len(answer) < self._steps and not self._done(answer)
        return any(self._growing)

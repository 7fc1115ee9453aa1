"""First station: requests become tokens, the same tokens that lm-eval makes of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from lm_eval.api.instance import Instance
from torch.nn.utils.rnn import pad_sequence

from valueeval.adapters.harness.prompts import Prompt
from valueeval.adapters.reading.types import EncodedPair
from valueeval.tasks.errors import ValueEvalError


class Encoder:
    """Encodes texts and requests.

    Args:
        tokenizer: The model's tokenizer.
        backend: lm-eval's name of the architecture: ``causal`` or ``seq2seq``.
        add_bos_token: As for ``hf``: whether special tokens are added; None: by the tokenizer.
        prefix_token_id: The token that stands for an empty context.

    Attributes:
        appended: Tokens that the tokenizer appends to every text (the end of a sequence), which
            `encode_text` leaves out where something is to follow the text.

    Raises:
        ValueEvalError: The tokenizer appends tokens in a way that is not understood.
    """

    def __init__(
        self, tokenizer: Any, backend: str, add_bos_token: bool | None, prefix_token_id: int
    ) -> None:
        self._tokenizer, self._backend = tokenizer, backend
        self._add_bos_token = add_bos_token
        self._prefix_token_id = prefix_token_id
        self._prefix = tokenizer.decode(prefix_token_id)
        self.appended: list[int] = []
        if backend == "causal":
            self.appended = self._find_appended()
        self._splits_words = _splits_words(tokenizer)

    def encode_text(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        """Return the tokens of a text, as lm-eval's ``HFLM.tok_encode``."""
        if add_special_tokens is None:
            add_special_tokens = self._add_bos_token
            if text.startswith(self._prefix):
                add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        tokens = list(self._tokenizer.encode(text, **options))
        end = len(tokens) - len(self.appended)
        if self.appended and add_special_tokens is not False and tokens[end:] == self.appended:
            return tokens[:end]
        return tokens

    def _find_appended(self) -> list[int]:
        text = "a b"
        plain = list(self._tokenizer.encode(text, add_special_tokens=False))
        full = self.encode_text(text)
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return full[start + len(plain) :]
        if full[-1] == self._tokenizer.eos_token_id != plain[-1]:
            raise ValueEvalError(
                "the tokenizer ends every text with its end-of-sequence token, and encodes texts "
                "otherwise without it: nothing could follow a prompt.\n"
                "Add add_bos_token=False to --model_args."
            )
        return []

    def encode_document(self, requests: Sequence[Instance]) -> list[Prompt]:
        """Encode the requests about one argument; what their prompts share is encoded once."""
        texts: dict[str, list[str]] = {}
        for request in requests:
            context, asked = request.args
            texts.setdefault(context, []).extend(self._parts(context, asked))
        together = list(texts.values())
        if len(requests) <= _MANY * len(texts):  # what contexts share is more than what each has
            together = [list(chain(*together))]
        known = {text: ids for some in together for text, ids in self._encode_all(some).items()}
        prompts = []
        for request in requests:
            context, asked = request.args
            if isinstance(asked, str):
                tokens = self._encode_pair(context, asked, known)
            else:
                tokens = EncodedPair(known[context] or [self._prefix_token_id], [])
            prompts.append(Prompt(request, tokens))
        return prompts

    def _parts(self, context: str, asked: Any) -> tuple[str, ...]:
        """Return the texts that a request's tokens are made of."""
        if not isinstance(asked, str):
            return (context,)
        # Blanks between the two belong to the first word of the continuation.
        stripped = context.rstrip()
        if self._backend == "seq2seq" or not context:
            return (stripped,)
        return stripped, context + asked

    def count(self, prompt: Prompt) -> int:
        """Return how many tokens of a prompt the model reads (an encoder-decoder: its encoder)."""
        context, continuation = prompt.tokens
        if self._backend == "seq2seq" or not continuation:
            return len(context)
        return len(context) + len(continuation) - 1

    def _encode_pair(
        self, context: str, continuation: str, known: Mapping[str, list[int]]
    ) -> EncodedPair:
        """Return the tokens of a request, as lm-eval's ``TemplateLM.loglikelihood``."""
        if not context:
            tokens = self.encode_text(continuation, add_special_tokens=False)
            if tokens[0] == self._prefix_token_id:
                return EncodedPair(tokens[:1], tokens[1:])
            return EncodedPair([self._prefix_token_id], tokens)
        stripped, *whole = self._parts(context, continuation)
        before = known[stripped]
        after = known[whole[0]][len(before) :] if whole else []
        if not after:
            # An encoder-decoder; or one token spans the end of the context and all that follows.
            continuation = context[len(stripped) :] + continuation
            after = self.encode_text(continuation, add_special_tokens=False)
        return EncodedPair(before or [self._prefix_token_id], after)

    def _encode_all(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """Return the tokens of each text, as `encode_text`; a beginning they share is read once."""
        distinct = list(dict.fromkeys(texts))
        end = self._seam(distinct)
        if not end:
            return {text: self.encode_text(text) for text in distinct}
        shared = self.encode_text(distinct[0][:end])
        rests = self._tokenizer([text[end:] for text in distinct], add_special_tokens=False)
        return {
            text: shared + rest for text, rest in zip(distinct, rests["input_ids"], strict=True)
        }

    def _seam(self, texts: Sequence[str]) -> int:
        """Return how many characters of texts can be encoded by themselves; 0 if none can.

        They end with a line that all texts have, where the next line begins with a word. As
        tokens do not reach over the end of a word, a text's tokens are those of the two parts. On
        the first text this is tried: its next line begins as those of the others do.
        """
        if not self._splits_words or len(texts) < _MANY:
            return 0
        shared = os.path.commonprefix([*texts])  # noqa: RUF071 (of strings, indeed)
        *_, last = [None, *_LINE_END.finditer(shared)]
        if last is None:
            return 0
        end, text = last.end(), texts[0]
        rest = self.encode_text(text[end:], add_special_tokens=False)
        return end if self.encode_text(text[:end]) + rest == self.encode_text(text) else 0


_MANY = 4  # texts from which on it pays to encode the beginning apart
# Between characters that are no blanks, since several blanks may be one token.
_LINE_END = re.compile(r"(?<=\S)\n(?=\w\w)")


def _splits_words(tokenizer: Any) -> bool:
    """Return whether a tokenizer divides a text into words before it makes tokens of them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return getattr(backend, "pre_tokenizer", None) is not None


def pad_rows(
    rows: Sequence[Sequence[int]], pad: int, side: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens and the mask of attention, both (rows, length).

    Args:
        rows: Tokens of each text.
        pad: The token that fills shorter rows.
        side: Where it stands: ``left`` or ``right``.
    """
    tensors = [torch.tensor(row) for row in rows]
    masks = [torch.ones_like(row) for row in tensors]
    return (
        pad_sequence(tensors, batch_first=True, padding_value=pad, padding_side=side),
        pad_sequence(masks, batch_first=True, padding_side=side),
    )

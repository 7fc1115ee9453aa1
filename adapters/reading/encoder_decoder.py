"""Encoder-decoders: the encoder reads each distinct input once, whatever is asked of it.

So do the decoder's projections of what the encoder says: the first decoder step, the same for all
continuations of an input, fills a cache that its continuations then share. Soft prompts stand
before the text in the encoder (prompt tuning, P-tuning) or before the decoder's tokens
(prefix-tuning); padding always comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from valueeval.adapters.reading.causal import EncodedPair
from valueeval.adapters.reading.soft_prompts import SoftPrompt
from valueeval.adapters.reading.stopping import GreedyAnswers
from valueeval.adapters.reading.tree_attention import (
    LogLikelihood,
    TokenScores,
    layers_of,
    log_normaliser,
)
from valueeval.adapters.runtime.batch_sizes import BatchSizer

_Tokens = tuple[int, ...]
_Pair = tuple[int, _Tokens]
"""A row of inputs, and the tokens of a continuation after it."""


@dataclass
class _Read:
    """Inputs after the encoder and the decoder's first step."""

    hidden: torch.Tensor  # (inputs, length, width)
    mask: torch.Tensor  # (inputs, length)
    first: torch.Tensor  # logits of the first token: (inputs, vocabulary)
    own: list[tuple[torch.Tensor, torch.Tensor]]  # of the decoder's own tokens, each layer
    cross: list[tuple[torch.Tensor, torch.Tensor]]  # of the encoder's output, each layer

    def cache(self, rows: torch.Tensor) -> EncoderDecoderCache:
        """A cache for these inputs, each as often as it is named."""
        return EncoderDecoderCache(
            DynamicCache([_of_rows(layer, rows) for layer in self.own]),
            DynamicCache([_of_rows(layer, rows) for layer in self.cross]),
        )


def _of_rows(
    layer: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    keys, values = layer
    there = rows.to(keys.device)  # layers may be on several GPUs
    return keys[there], values[there]


class EncoderDecoderReader:
    """Scores and generates with an encoder-decoder.

    Args:
        model: A Transformers model, or PEFT's wrapper of one.
        device: Where inputs go.
        softmax_dtype: Precision of the log-softmax; None is float32.
        context: Makes a context manager to run the model in (autocast).
        batch_size: Inputs of the encoder (or continuations in the decoder) in one forward pass;
            None: as many as ``tokens`` hold.
        tokens: The most tokens in one forward pass where there is no batch size.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        softmax_dtype: torch.dtype | None,
        context: Callable[[], Any],
        batch_size: int | None,
        tokens: int,
    ) -> None:
        self._prompt = SoftPrompt(model)
        self._device = device
        self._softmax_dtype = softmax_dtype or torch.float32
        self._context = context
        self._sizes = BatchSizer(batch_size, tokens, "inputs")

    @torch.no_grad()
    def score(
        self, family: str, documents: Sequence[Sequence[EncodedPair]]
    ) -> list[list[LogLikelihood]]:
        """As `CausalReader.score`; ``family`` is not used."""
        asked: dict[_Tokens, dict[_Tokens, None]] = {}
        for document in documents:
            for encoded in document:
                wanted = asked.setdefault(tuple(encoded.context), {})
                wanted[tuple(encoded.continuation)] = None

        def scored(contexts: Sequence[_Tokens]) -> list[dict[_Tokens, LogLikelihood]]:
            read = self._read(contexts)
            pairs = [(row, c) for row, context in enumerate(contexts) for c in asked[context]]
            found: list[dict[_Tokens, LogLikelihood]] = [{} for _ in contexts]
            for (row, continuation), answer in zip(pairs, self._answers(read, pairs), strict=True):
                found[row][continuation] = answer
            return found

        answers: dict[_Tokens, dict[_Tokens, LogLikelihood]] = {}
        for contexts in self._batches(list(asked)):
            found = self._sizes.retry_smaller(contexts, scored)
            answers.update(zip(contexts, found, strict=True))
        return [
            [answers[tuple(e.context)][tuple(e.continuation)] for e in document]
            for document in documents
        ]

    def log_likelihoods(self, documents: Sequence[Sequence[EncodedPair]]) -> torch.Tensor:
        """The same with gradients, for training: (continuations,), in one forward pass."""
        contexts = {tuple(e.context): 0 for document in documents for e in document}
        contexts.update(zip(contexts, range(len(contexts)), strict=True))
        pairs = [
            (contexts[tuple(e.context)], tuple(e.continuation))
            for document in documents
            for e in document
        ]
        said = self._targets(self._read(list(contexts)), pairs)
        return torch.stack([one.scores.sum() for one in said])

    @torch.no_grad()
    def generate(
        self,
        family: str,
        documents: Sequence[Sequence[list[int]]],
        steps: int,
        done: Callable[[list[int]], bool],
    ) -> list[list[list[int]]]:
        """Greedy answers, as :meth:`valueeval.adapters.reading.causal.CausalReader.generate`."""
        distinct = list(
            dict.fromkeys(tuple(tokens) for document in documents for tokens in document)
        )
        answers: dict[_Tokens, list[int]] = {}
        for contexts in self._batches(distinct):
            grown = self._sizes.retry_smaller(
                contexts, lambda some: self._grow(self._read(some), steps, done)
            )
            answers.update(zip(contexts, grown, strict=True))
        return [[list(answers[tuple(tokens)]) for tokens in document] for document in documents]

    def _batches(self, contexts: list[_Tokens]) -> Iterator[list[_Tokens]]:
        """Longest first, so that there is little padding."""
        contexts = sorted(contexts, key=len, reverse=True)
        start = 0
        while start < len(contexts):
            batch = contexts[start : start + self._sizes.fitting(len(contexts[start]))]
            yield batch
            start += len(batch)

    def _read(self, contexts: Sequence[_Tokens]) -> _Read:
        """The encoder, and the decoder on the token that every answer starts with."""
        prompt, base = self._prompt, self._prompt.base
        rows = [torch.tensor(tokens, dtype=torch.long) for tokens in contexts]
        tokens = pad_sequence(rows, batch_first=True).to(self._device)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(
            self._device
        )
        inputs = {"input_ids": tokens}
        if prompt.embedded:
            inputs = {"inputs_embeds": prompt.embed(tokens)}
            mask = torch.cat([mask.new_ones(len(rows), prompt.length), mask], dim=1)
        start = torch.full((len(rows), 1), self._start, device=self._device)
        with self._context():
            hidden = base.get_encoder()(**inputs, attention_mask=mask)[0]
            output = base(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                attention_mask=mask,
                decoder_input_ids=start,
                past_key_values=prompt.cache(len(rows)) if prompt.in_cache else None,
                use_cache=True,
            )
        past = output.past_key_values
        return _Read(
            hidden,
            mask,
            output.logits[:, -1],
            layers_of(past.self_attention_cache),
            layers_of(past.cross_attention_cache),
        )

    @property
    def _start(self) -> int:
        start: int = self._prompt.base.config.decoder_start_token_id
        return start

    def _answers(self, read: _Read, pairs: Sequence[_Pair]) -> list[LogLikelihood]:
        """Log-likelihoods of continuations, each after the input in that row."""

        def answer(some: Sequence[_Pair]) -> list[LogLikelihood]:
            said = self._targets(read, some)
            return [(float(one.scores.sum()), bool(one.greedy.all())) for one in said]

        answers: list[LogLikelihood] = []
        while len(answers) < len(pairs):
            size = self._sizes.fitting(read.mask.shape[1])
            answers += self._sizes.retry_smaller(pairs[len(answers) : len(answers) + size], answer)
        return answers

    def _targets(self, read: _Read, pairs: Sequence[_Pair]) -> list[TokenScores]:
        """What the model says about the tokens of each continuation after the input in its row."""
        rows = torch.tensor([row for row, _ in pairs], device=self._device)
        tokens = [torch.tensor(asked, device=self._device) for _, asked in pairs]
        first, best = log_normaliser(read.first, self._softmax_dtype)
        wanted = torch.stack([asked[0] for asked in tokens])
        # The first token is known already; the others follow it.
        scores = read.first[rows, wanted].to(self._softmax_dtype) - first[rows]
        greedy = best[rows] == wanted
        later = self._later(read, rows, tokens)
        return [
            TokenScores(
                torch.cat([scores[i : i + 1], more.scores]),
                torch.cat([greedy[i : i + 1], more.greedy]),
            )
            for i, more in enumerate(later)
        ]

    def _later(
        self, read: _Read, rows: torch.Tensor, tokens: Sequence[torch.Tensor]
    ) -> list[TokenScores]:
        """All but the first token of each continuation."""
        nothing = TokenScores(read.first.new_zeros(0), rows.new_zeros(0, dtype=torch.bool))
        results = [nothing] * len(tokens)
        long = [i for i, asked in enumerate(tokens) if len(asked) > 1]
        if not long:
            return results
        padded = pad_sequence([tokens[i] for i in long], batch_first=True)
        logits = self._step(read, rows[long], padded[:, :-1], read.cache(rows[long])).logits
        for place, i in enumerate(long):
            wanted = tokens[i][1:]
            said = logits[place, : len(wanted)]
            total, best = log_normaliser(said, self._softmax_dtype)
            picked = said.gather(1, wanted[:, None])[:, 0].to(self._softmax_dtype) - total
            results[i] = TokenScores(picked, best == wanted)
        return results

    def _grow(self, read: _Read, steps: int, done: Callable[[list[int]], bool]) -> list[list[int]]:
        answers = GreedyAnswers(len(read.first), steps, done)
        rows = torch.arange(len(read.first), device=self._device)
        best, past = read.first.argmax(dim=-1), read.cache(rows)
        while answers.add(best.tolist()):
            output = self._step(read, rows, best[:, None].to(self._device), past)
            best, past = output.logits[:, -1].argmax(dim=-1), output.past_key_values
        return answers.tokens

    def _step(self, read: _Read, rows: torch.Tensor, tokens: torch.Tensor, past: Any) -> Any:
        with self._context():
            return self._prompt.base(
                # only its shape matters: its projections are in the cache
                encoder_outputs=BaseModelOutput(last_hidden_state=read.hidden[rows]),
                attention_mask=read.mask[rows],
                decoder_input_ids=tokens,
                past_key_values=past,
                use_cache=True,
            )

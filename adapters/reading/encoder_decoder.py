"""Encoder-decoders: the encoder reads each distinct input once, whatever is asked of it.

The decoder's first step is the same for all continuations of an input: it fills a cache, with the
projections of the encoder's output, that the continuations share. Soft prompts stand before the
text in the encoder (prompt tuning, P-tuning) or before the decoder's tokens (prefix-tuning).
Padding always comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from valueeval.adapters.reading.forms import Form, FormOf
from valueeval.adapters.reading.soft_prompts import SoftPrompt
from valueeval.adapters.reading.stopping import GreedyAnswers
from valueeval.adapters.reading.types import (
    EncodedPair,
    KeysAndValues,
    LoadedModel,
    LogLikelihood,
    TokenScores,
    cache_layers,
    log_normaliser,
)
from valueeval.adapters.runtime.batch_sizes import BatchLimits, BatchSizer

_Tokens = tuple[int, ...]
_Pair = tuple[int, _Tokens]
"""The row of an input, and a continuation after it."""


@dataclass
class _ReadInputs:
    """Inputs after the encoder and the decoder's first step."""

    hidden: torch.Tensor  # (inputs, length, width)
    mask: torch.Tensor  # (inputs, length)
    first: torch.Tensor  # logits of the first token: (inputs, vocabulary)
    own: KeysAndValues  # of the decoder's own tokens
    cross: KeysAndValues  # of the encoder's output

    def cache(self, rows: torch.Tensor) -> EncoderDecoderCache:
        """Return a cache for these inputs, repeated as in ``rows``."""
        return EncoderDecoderCache(
            DynamicCache(_pick_rows(self.own, rows)),
            DynamicCache(_pick_rows(self.cross, rows)),
        )


def _pick_rows(layers: KeysAndValues, rows: torch.Tensor) -> KeysAndValues:
    # Layers may be on several GPUs.
    return [(keys[rows.to(keys.device)], values[rows.to(keys.device)]) for keys, values in layers]


class EncoderDecoderReader:
    """Scores and generates with an encoder-decoder.

    Args:
        loaded: The model.
        limits: Limits of a batch, whose rows are inputs of the encoder, or continuations in the
            decoder.
    """

    def __init__(self, loaded: LoadedModel, limits: BatchLimits) -> None:
        self._prompt = SoftPrompt(loaded.model)
        self._device = loaded.device
        self._softmax_dtype = loaded.softmax_dtype
        self._autocast = loaded.autocast
        self._sizer = BatchSizer(limits, "inputs")

    @torch.no_grad()
    def score(
        self, family: str, documents: Sequence[Sequence[EncodedPair]]
    ) -> list[list[LogLikelihood]]:
        """Score continuations, as `CausalReader.score`; ``family`` is not used."""
        asked: dict[_Tokens, dict[_Tokens, None]] = {}
        for document in documents:
            for pair in document:
                asked.setdefault(tuple(pair.context), {})[tuple(pair.continuation)] = None
        scores: dict[tuple[_Tokens, _Tokens], LogLikelihood] = {}
        contexts = sorted(asked, key=len, reverse=True)  # little padding
        for batch in self._sizer.batches(contexts, list(map(len, contexts))):
            with batch.retry_smaller():
                read = self._read(batch.rows)
                pairs = [(row, c) for row, context in enumerate(batch.rows) for c in asked[context]]
                for (row, continuation), score in zip(pairs, self._score(read, pairs), strict=True):
                    scores[batch.rows[row], continuation] = score
        return [
            [scores[tuple(pair.context), tuple(pair.continuation)] for pair in document]
            for document in documents
        ]

    def log_likelihoods(self, documents: Sequence[Sequence[EncodedPair]]) -> torch.Tensor:
        """Score with gradients, for training: (continuations,), in one forward pass."""
        rows: dict[_Tokens, int] = {}
        pairs = [
            (rows.setdefault(tuple(pair.context), len(rows)), tuple(pair.continuation))
            for document in documents
            for pair in document
        ]
        found = self._score_tokens(self._read(list(rows)), pairs)
        return torch.stack([tokens.scores.sum() for tokens in found])

    @torch.no_grad()
    def generate(
        self,
        family: str,
        documents: Sequence[Sequence[list[int]]],
        steps: int,
        done: Callable[[list[int]], bool],
        form_of: FormOf | None = None,
    ) -> list[list[list[int]]]:
        """Answer prompts greedily, as `CausalReader.generate`; ``family`` is not used."""
        places = {
            tuple(tokens): (d, k)
            for d, document in enumerate(documents)
            for k, tokens in enumerate(document)
        }
        contexts = sorted(places, key=len, reverse=True)  # little padding
        answers: dict[_Tokens, list[int]] = {}
        for batch in self._sizer.batches(contexts, list(map(len, contexts))):
            with batch.retry_smaller():
                forms = None
                if form_of is not None:
                    forms = [form_of(*places[context]) for context in batch.rows]
                found = self._decode(self._read(batch.rows), steps, done, forms)
                answers.update(zip(batch.rows, found, strict=True))
        return [[list(answers[tuple(tokens)]) for tokens in document] for document in documents]

    def _read(self, contexts: Sequence[_Tokens]) -> _ReadInputs:
        """Run the encoder, and the decoder on the token that every answer starts with."""
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
        with self._autocast():
            hidden = base.get_encoder()(**inputs, attention_mask=mask)[0]
            output = base(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                attention_mask=mask,
                decoder_input_ids=start,
                past_key_values=prompt.cache(len(rows)) if prompt.in_cache else None,
                use_cache=True,
            )
        past = output.past_key_values
        return _ReadInputs(
            hidden,
            mask,
            output.logits[:, -1],
            cache_layers(past.self_attention_cache),
            cache_layers(past.cross_attention_cache),
        )

    @property
    def _start(self) -> int:
        start: int = self._prompt.base.config.decoder_start_token_id
        return start

    def _score(self, read: _ReadInputs, pairs: Sequence[_Pair]) -> list[LogLikelihood]:
        """Score continuations, each after the input in its row."""
        scores: list[LogLikelihood] = []
        for batch in self._sizer.batches(pairs, [read.mask.shape[1]] * len(pairs)):
            with batch.retry_smaller():
                found = self._score_tokens(read, batch.rows)
                scores += [(float(one.scores.sum()), bool(one.greedy.all())) for one in found]
        return scores

    def _score_tokens(self, read: _ReadInputs, pairs: Sequence[_Pair]) -> list[TokenScores]:
        """Score the tokens of each continuation after the input in its row."""
        rows = torch.tensor([row for row, _ in pairs], device=self._device)
        tokens = [torch.tensor(asked, device=self._device) for _, asked in pairs]
        first, best = log_normaliser(read.first, self._softmax_dtype)
        wanted = torch.stack([asked[0] for asked in tokens])
        # The first token is known already; the others follow it.
        scores = read.first[rows, wanted].to(self._softmax_dtype) - first[rows]
        greedy = best[rows] == wanted
        later = self._score_later(read, rows, tokens)
        return [
            TokenScores(
                torch.cat([scores[i : i + 1], more.scores]),
                torch.cat([greedy[i : i + 1], more.greedy]),
            )
            for i, more in enumerate(later)
        ]

    def _score_later(
        self, read: _ReadInputs, rows: torch.Tensor, tokens: Sequence[torch.Tensor]
    ) -> list[TokenScores]:
        """Score all but the first token of each continuation."""
        nothing = TokenScores(read.first.new_zeros(0), rows.new_zeros(0, dtype=torch.bool))
        results = [nothing] * len(tokens)
        long = [i for i, asked in enumerate(tokens) if len(asked) > 1]
        if not long:
            return results
        padded = pad_sequence([tokens[i] for i in long], batch_first=True)
        logits = self._step(read, rows[long], padded[:, :-1], read.cache(rows[long])).logits
        for place, i in enumerate(long):
            wanted = tokens[i][1:]
            found = logits[place, : len(wanted)]
            total, best = log_normaliser(found, self._softmax_dtype)
            picked = found.gather(1, wanted[:, None])[:, 0].to(self._softmax_dtype) - total
            results[i] = TokenScores(picked, best == wanted)
        return results

    def _decode(
        self,
        read: _ReadInputs,
        steps: int,
        done: Callable[[list[int]], bool],
        forms: Sequence[Form | None] | None,
    ) -> list[list[int]]:
        answers = GreedyAnswers(len(read.first), steps, done, forms)
        rows = torch.arange(len(read.first), device=self._device)
        best, past = answers.choose(read.first), read.cache(rows)
        while answers.add(best):
            inputs = torch.tensor(best, device=self._device)[:, None]
            output = self._step(read, rows, inputs, past)
            best, past = answers.choose(output.logits[:, -1]), output.past_key_values
        return answers.tokens

    def _step(self, read: _ReadInputs, rows: torch.Tensor, tokens: torch.Tensor, past: Any) -> Any:
        with self._autocast():
            return self._prompt.base(
                # Only its shape matters: its projections are in the cache.
                encoder_outputs=BaseModelOutput(last_hidden_state=read.hidden[rows]),
                attention_mask=read.mask[rows],
                decoder_input_ids=tokens,
                past_key_values=past,
                use_cache=True,
            )

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

from valueeval.adapters.causal import Encoded
from valueeval.adapters.prefix import LogLikelihood, layers_of, normaliser
from valueeval.adapters.soft_prompts import SoftPrompt


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
            DynamicCache([(k[rows], v[rows]) for k, v in self.own]),
            DynamicCache([(k[rows], v[rows]) for k, v in self.cross]),
        )


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
        self._batch_size = batch_size
        self._tokens = tokens

    @torch.no_grad()
    def score(
        self, family: str, documents: Sequence[Sequence[Encoded]]
    ) -> list[list[LogLikelihood]]:
        """As :meth:`valueeval.adapters.causal.CausalReader.score`; ``family`` is of no use here."""
        asked: dict[tuple[int, ...], dict[tuple[int, ...], LogLikelihood | None]] = {}
        for document in documents:
            for encoded in document:
                wanted = asked.setdefault(tuple(encoded.context), {})
                wanted[tuple(encoded.continuation)] = None
        answers: dict[tuple[tuple[int, ...], tuple[int, ...]], LogLikelihood] = {}
        for contexts in self._batches(list(asked)):
            read = self._read(contexts)
            pairs = [(row, c) for row, context in enumerate(contexts) for c in asked[context]]
            for (row, continuation), answer in zip(pairs, self._answers(read, pairs), strict=True):
                answers[contexts[row], continuation] = answer
        return [
            [answers[tuple(e.context), tuple(e.continuation)] for e in document]
            for document in documents
        ]

    @torch.no_grad()
    def generate(
        self,
        family: str,
        documents: Sequence[Sequence[list[int]]],
        steps: int,
        done: Callable[[list[int]], bool],
    ) -> list[list[list[int]]]:
        """Greedy answers, as :meth:`valueeval.adapters.causal.CausalReader.generate`."""
        distinct = list(
            dict.fromkeys(tuple(tokens) for document in documents for tokens in document)
        )
        answers: dict[tuple[int, ...], list[int]] = {}
        for contexts in self._batches(distinct):
            grown = self._grow(self._read(contexts), steps, done)
            answers.update(zip(contexts, grown, strict=True))
        return [[list(answers[tuple(tokens)]) for tokens in document] for document in documents]

    def _batches(self, contexts: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        """Longest first, so that there is little padding."""
        contexts = sorted(contexts, key=len, reverse=True)
        start = 0
        while start < len(contexts):
            size = self._batch_size or max(1, self._tokens // len(contexts[start]))
            yield contexts[start : start + size]
            start += size

    def _read(self, contexts: Sequence[tuple[int, ...]]) -> _Read:
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

    def _answers(
        self, read: _Read, pairs: Sequence[tuple[int, tuple[int, ...]]]
    ) -> list[LogLikelihood]:
        """Log-likelihoods of continuations, each after the input in that row."""
        size = self._batch_size or max(1, self._tokens // read.mask.shape[1])
        first, best = normaliser(read.first, self._softmax_dtype)
        answers: list[LogLikelihood] = []
        for start in range(0, len(pairs), size):
            some = pairs[start : start + size]
            # The first token is known already; the others follow it.
            later = self._later(read, some)
            for (row, continuation), (score, greedy) in zip(some, later, strict=True):
                token = continuation[0]
                one = float(read.first[row, token].to(self._softmax_dtype) - first[row])
                answers.append((one + score, greedy and int(best[row]) == token))
        return answers

    def _later(
        self, read: _Read, pairs: Sequence[tuple[int, tuple[int, ...]]]
    ) -> list[LogLikelihood]:
        """The part of all but the first token in each continuation's log-likelihood."""
        results: list[LogLikelihood] = [(0.0, True)] * len(pairs)
        long = [i for i, (_, continuation) in enumerate(pairs) if len(continuation) > 1]
        if not long:
            return results
        rows = torch.tensor([pairs[i][0] for i in long], device=self._device)
        tokens = [torch.tensor(pairs[i][1], dtype=torch.long) for i in long]
        padded = pad_sequence(tokens, batch_first=True).to(self._device)
        logits = self._step(read, rows, padded[:, :-1], read.cache(rows)).logits
        for place, i in enumerate(long):
            wanted = tokens[place][1:].to(logits.device)
            scores = logits[place, : len(wanted)]
            total, best = normaliser(scores, self._softmax_dtype)
            picked = scores.gather(1, wanted[:, None])[:, 0].to(self._softmax_dtype) - total
            results[i] = (float(picked.sum()), bool((best == wanted).all()))
        return results

    def _grow(self, read: _Read, steps: int, done: Callable[[list[int]], bool]) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in range(len(read.first))]
        growing = [True] * len(answers)
        rows = torch.arange(len(answers), device=self._device)
        logits, past = read.first, read.cache(rows)
        for step in range(steps):
            chosen = logits.argmax(dim=-1)
            for i, token in enumerate(chosen.tolist()):
                if growing[i]:
                    answers[i].append(token)
                    growing[i] = not done(answers[i])
            if step + 1 == steps or not any(growing):
                break
            output = self._step(read, rows, chosen[:, None].to(self._device), past)
            logits, past = output.logits[:, -1], output.past_key_values
        return answers

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

"""``--model valueeval`` for language models: base models and PEFT adapters of any kind.

Takes what lm-eval's ``hf`` takes, and gives its answers; but an argument is read once for all
questions about it, and soft prompts stand where they were in training. What this cannot do
(sampling, models that keep their states in ways of their own), ``hf``'s own code does, and the log
says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import simple_parse_args_string
from tqdm import tqdm

from valueeval.adapters import identity
from valueeval.adapters.answers import Answers
from valueeval.adapters.causal import CausalReader, Encoded
from valueeval.adapters.cuts import ARGUMENT, PROMPT, Cuts
from valueeval.adapters.devices import check_batch_size, check_dtype, choose_device
from valueeval.adapters.documents import Document, chunks, like, same_requests
from valueeval.adapters.encoder_decoder import EncoderDecoderReader
from valueeval.adapters.expanded import ExpandedScorer
from valueeval.adapters.harness import join_processes
from valueeval.adapters.hub import local_folder
from valueeval.adapters.prefix import LogLikelihood, PrefixScorer
from valueeval.adapters.probe import rope_limit, why_not, window
from valueeval.adapters.soft_prompts import check_adapter, check_kind, virtual_tokens
from valueeval.adapters.stopping import Stop, not_greedy
from valueeval.adapters.truncation import cut_argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.requests import ValueRequest

logger = logging.getLogger(__name__)
# lm-eval shows what is no warning only if it comes from a logger of its own. It says itself that no
# answer is from the cache (see valueeval.adapters.answers).
_shown_logger = logging.getLogger("lm_eval.valueeval")

T = TypeVar("T")

# Arguments that are tokenised at a time: memory does not grow with their number, a bar moves.
_CHUNK = {"cpu": 8, "cuda": 128}
# Texts whose tokens are kept: those of a chunk of valueeval_bca.
_REMEMBERED = 60 * 128
# Tokens in one forward pass for batch_size=auto: beyond them it gets no faster.
_AUTO_TOKENS = {"cpu": 1024, "cuda": 32768}
_CUT = {
    ARGUMENT: "%s: %d arguments are longer than the %d tokens that fit and were cut%s",
    PROMPT: (
        "%s: the prompts about %d arguments are longer than the %d tokens that fit, even without "
        "the premise: they were cut on the left, so that the model does not see all of the "
        "instruction, the examples or the question (fewer --num_fewshot would help)%s"
    ),
}


class ValueEvalHF(HFLM):
    """A language model, with or without an adapter, that reads each argument once.

    Log-likelihoods and greedy generation are computed here; anything else is left to lm-eval's
    class. ``batch_size`` counts arguments (for encoder-decoders: inputs of the encoder).

    Args:
        pretrained: As ``hf``: a hub id, a folder, or a model.
        peft: As ``hf``: a PEFT adapter, folder or hub id (also ``org/name@revision``).
        adapter: The adapter directory that ``pretrained`` and ``peft`` were taken from, if any: its
            manifest's thresholds apply.
        **kwargs: As ``hf``.

    Raises:
        ValueEvalError: The model is a classifier, or the adapter is of a kind that cannot be
            evaluated; the message says what can be done.
    """

    _model: Any
    batch_size_per_gpu: int | str
    _reader: CausalReader | EncoderDecoderReader | None
    _far_reader: CausalReader | None
    _window: int | None
    _rope_limit: int | None

    def __init__(
        self,
        pretrained: Any,
        peft: str | None = None,
        adapter: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._virtual_tokens = 0
        self._manifest = identity.read_template_manifest(adapter)
        self._cuts = Cuts()
        self._remembered: dict[tuple[str, bool | None], list[int]] = {}
        self._answers: Answers | None = None
        check_batch_size(kwargs.get("batch_size"))
        check_dtype(kwargs.get("dtype"))
        if peft:
            peft = str(local_folder(peft, kwargs.get("revision")))
            check_adapter(peft)
        if isinstance(pretrained, str):
            identity.refuse_classifier(pretrained, kwargs)
        if peft:
            identity.check_base(self._manifest, pretrained, kwargs.get("revision"))
        if isinstance(pretrained, str) and not kwargs.get("tp_plan"):
            # Else Accelerate would not know of processes on the CPU.
            join_processes(cpu=choose_device(kwargs.get("device")).type == "cpu")
        self._given = {**kwargs, "peft": peft}
        super().__init__(pretrained, peft=peft, **kwargs)
        if not peft:
            self._note_model()
        if hasattr(self._model, "active_peft_config"):
            self._virtual_tokens = virtual_tokens(self._model)
        accelerator = getattr(self, "accelerator", None)
        if accelerator is not None:
            # hf does so only where a machine has several GPUs: else each would answer everything.
            self._rank, self._world_size = accelerator.process_index, accelerator.num_processes
        self._make_readers()

    # ------------------------------------------------------------------- as lm-eval makes it

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> ValueEvalHF:
        """The model from ``--model_args``; they win over flags of the same name.

        What an ``adapter`` stands for is entered in ``arg_dict``, from which lm-eval takes the name
        of the results' folder: of one from the hub its name there.
        """
        flags = {k: v for k, v in (additional_config or {}).items() if v is not None}
        return cls(**{**flags, **identity.enter_adapter(arg_dict)})

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> ValueEvalHF:
        """As :meth:`create_from_arg_obj`, from ``"key=value,key=value"``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    def _create_model(self, pretrained: str, peft: str | None = None, **kwargs: Any) -> None:
        """As ``hf``, but an adapter leaves the base's embeddings as they are.

        ``hf`` cuts them to the tokenizer's length, though models are often padded past it.
        """
        if peft and kwargs.get("delta"):
            raise ValueEvalError("--model_args: peft and delta cannot be used together.")
        if peft:
            check_kind(peft, self.backend)
        super()._create_model(pretrained, peft=None, **kwargs)
        self._note_model()
        if not peft:
            return
        from peft import PeftModel

        if len(self.tokenizer) > self._model.get_input_embeddings().num_embeddings:
            # An adapter with tokens of its own was trained with their embeddings.
            self._model.resize_token_embeddings(len(self.tokenizer))
        try:
            self._model = PeftModel.from_pretrained(
                self._model, peft, revision=kwargs.get("revision") or "main"
            )
        except (ValueError, RuntimeError, KeyError) as error:
            raise ValueEvalError(
                f"peft={peft}: it does not go with the base model {pretrained} "
                f"({str(error).strip().splitlines()[0]}).\n"
                "Give the base that it was trained on: pretrained=MODEL"
            ) from error
        # The base's weights are tied already. hf ties them once more, and fails on embeddings that
        # PEFT has wrapped.
        self._model.tie_weights = lambda *_, **__: None

    def _note_model(self) -> None:
        parameters = getattr(self._model, "num_parameters", None)
        self._base_parameters = int(parameters()) if parameters else -1

    def _make_readers(self) -> None:
        """How prompts are read: as a tree, behind an expanded cache, or (None) as ``hf`` does."""
        self._reader = self._far_reader = self._window = None
        self._rope_limit = rope_limit(self.config) if self.backend == "causal" else None
        reason = self._why_not(PrefixScorer)
        if self.backend == "seq2seq":
            if reason is None:
                self._reader = EncoderDecoderReader(*self._parts, *self._batch)
        elif reason is None:
            self._reader = self._causal_reader(PrefixScorer)
            self._window = window(self.config)
            if self._window is not None and self._why_not(ExpandedScorer) is None:
                self._far_reader = self._causal_reader(ExpandedScorer)
        elif self._why_not(ExpandedScorer) is None:
            logger.warning("%s: the cache of each argument is copied for its questions", reason)
            self._reader = self._causal_reader(ExpandedScorer)
        if self._reader is None:
            logger.warning("%s: every prompt is read by itself, as hf does", reason)

    def _why_not(self, scorer: type[PrefixScorer]) -> str | None:
        return why_not(self.model, self.backend, self.device, self._autocast, scorer)

    def _causal_reader(self, scorer: type[PrefixScorer]) -> CausalReader:
        return CausalReader(scorer(*self._parts), *self._batch)

    @property
    def _parts(self) -> tuple[Any, torch.device, torch.dtype | None, Callable[[], Any]]:
        return self.model, self.device, self.softmax_dtype, self._autocast

    @property
    def _batch(self) -> tuple[int | None, int]:
        """Arguments in a batch, and tokens where that is ``auto``."""
        size = None if self.batch_size == "auto" else int(self.batch_size)
        return size, _AUTO_TOKENS.get(self.device.type, _AUTO_TOKENS["cpu"])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type,
            dtype=self.mixed_precision_dtype,
            enabled=self.mixed_precision_dtype is not None,
        )

    def weights_changed(self) -> None:
        """Forgets what the model said with other weights (a model in training)."""
        self._make_readers()

    # --------------------------------------------------------------------------- lengths

    @property
    def _chunk(self) -> int:
        usual = _CHUNK.get(self.device.type, _CHUNK["cuda"])
        asked, _ = self._batch
        return max(usual, asked or 0)

    @property
    def max_length(self) -> int:
        """Tokens of text that fit, after the virtual tokens before it."""
        return int(super().max_length) - self._virtual_tokens

    def encoded(self, requests: Sequence[Instance]) -> list[Encoded]:
        """Tokens of the scoring requests about one argument, which is cut if they are too long."""
        document = list(enumerate(requests))
        self._fits([document], lambda _: self.max_length)
        return [self._within(*request.args) for _, request in document]

    def _fits(
        self, documents: Sequence[Document], limit: Callable[[Instance], int]
    ) -> dict[int, str]:
        """Cuts arguments of ValueEval requests that are too long.

        Returns:
            What requests lost (see :mod:`valueeval.adapters.cuts`), by their place in the run.
        """
        lost: dict[int, str] = {}
        for document in documents:
            long = [i for i, request in document if self._length(request.args) > limit(request)]
            if long:
                shortened = self._shorten(document, limit)
                # Else it will be cut on the left, as hf does.
                lost.update(
                    dict.fromkeys(long, PROMPT)
                    if shortened is None
                    else dict.fromkeys(shortened, ARGUMENT)
                )
        return lost

    def _shorten(self, document: Document, limit: Callable[[Instance], int]) -> list[int] | None:
        """Cuts the argument that a document is about; places of the requests that have changed.

        None if that does not help, or another task asks.
        """
        requests = [request for _, request in document]
        first = requests[0]
        if not isinstance(first, ValueRequest):
            return None

        def fits(contexts: list[str]) -> bool:
            return all(
                self._length((context, request.args[1])) <= limit(request)
                for context, request in zip(contexts, requests, strict=True)
            )

        prompts = [request.args[0] for request in requests]
        # Prompts have it without blanks at its ends.
        premise = first.doc["premise"].strip()
        contexts = cut_argument(prompts, premise, fits, first.around_premise)
        if contexts is None:
            return None
        changed = []
        for place, context in enumerate(contexts):
            index, request = document[place]
            if context != request.args[0]:
                document[place] = (index, replace(request, arguments=(context, request.args[1])))
                changed.append(index)
        return changed

    def _length(self, arguments: tuple[Any, ...]) -> int:
        """Tokens that the model would read for these arguments of a request."""
        context, asked = arguments
        if not isinstance(asked, str):
            return len(self.tok_encode(context))
        encoded = self._encoded(context, asked)
        if self.backend == "seq2seq":
            return len(encoded.context)
        return len(encoded.context) + len(encoded.continuation) - 1

    def _report_cuts(self, before: Mapping[str, Mapping[str, int]]) -> None:
        """Says what has been cut since there were so many."""
        share = f" (process {self.rank})" if self.world_size > 1 else ""
        for what, counts in self._cuts.own().items():
            for task, number in counts.items():
                if new := number - before[what].get(task, 0):
                    logger.warning(_CUT[what], task, new, self.max_length, share)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """As ``hf``; what each process has cut comes along, as only ``dst`` writes results."""
        gathered = super().gather_object((obj, self._cuts.own()), dst)
        if gathered is None:
            return None
        self._cuts.gathered([cuts for _, cuts in gathered])
        return [its for its, _ in gathered]

    # ------------------------------------------------------------------------------- answers

    def _answered(
        self,
        kind: str,
        requests: Sequence[Instance],
        disable_tqdm: bool,
        limit: Callable[[Instance], int],
        answer: Callable[[str, Sequence[Document]], list[list[T]]],
        own: Callable[[Instance, T], T],
    ) -> list[T]:
        """Answers requests of one type, those that ask the same once.

        Args:
            kind: lm-eval's name of the type.
            requests: All of a run.
            disable_tqdm: Whether to show no bar.
            limit: Tokens of a request's arguments that the model reads at most.
            answer: Answers to documents of a family.
            own: A request's own answer, from that to all that ask the same.
        """
        answers: dict[int, T] = {}
        same = same_requests(requests)
        before = self._cuts.own()
        with _progress(requests, disable_tqdm or self.rank != 0, kind) as bar:

            def enter(index: int, result: T, lost: str | None) -> None:
                for twin in same[index]:
                    self._cuts.note(lost, requests[twin])
                    answers[twin] = own(requests[twin], result)
                bar.update(len(same[index]))

            known = self._known(kind, requests, same)
            for index, (result, lost) in known.items():
                enter(index, result, lost)
            left = {index: twins for index, twins in same.items() if index not in known}
            for family, documents in chunks(requests, left, self._chunk):
                cut = self._fits(documents, limit)
                for document, results in zip(documents, answer(family, documents), strict=True):
                    for (index, _), result in zip(document, results, strict=True):
                        enter(index, result, cut.get(index))
                        self._keep(kind, requests[index], result, cut.get(index))
        self._report_cuts(before)
        return [answers[index] for index in range(len(requests))]

    def _known(
        self, kind: str, requests: Sequence[Instance], same: Mapping[int, list[int]]
    ) -> dict[int, tuple[Any, str | None]]:
        """Answers of ``--use_cache``, and what was cut, by the place of the first that asks so."""
        if self._answers is None:
            return {}
        found = {
            index: self._answers.find(kind, requests[index].args)
            for index in same
            if not _sampled(requests[index])
        }
        # Where it must be cut, an argument is cut the same for all that is asked about it.
        partly = {_document(requests[index]) for index in same if found.get(index) is None}
        known = {
            index: entry
            for index, entry in found.items()
            if entry is not None and _document(requests[index]) not in partly
        }
        number = sum(len(same[index]) for index in known)
        _shown_logger.info("%d of %d answers are from the cache", number, len(requests))
        return known

    def _keep(self, kind: str, request: Instance, answer: Any, cut: str | None) -> None:
        if self._answers is not None and not _sampled(request):
            self._answers.keep(kind, request.args, answer, cut)

    # ------------------------------------------------------------------------ log-likelihood

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[LogLikelihood]:
        """Log-probability of each request's continuation, and whether it is the greedy one."""
        return self._answered(
            "loglikelihood",
            requests,
            disable_tqdm,
            lambda _: self.max_length,
            self._scored,
            self._thresholded,
        )

    def _scored(self, family: str, documents: Sequence[Document]) -> list[list[LogLikelihood]]:
        encoded = [[self._within(*r.args) for _, r in document] for document in documents]
        lengths = [max(len(e.context) + len(e.continuation) for e in row) for row in encoded]

        def together(rows: Sequence[int]) -> list[list[LogLikelihood]]:
            reader = self._reader_of(max(lengths[row] for row in rows))
            if reader is None or self.enable_thinking:
                some = [documents[row] for row in rows]
                flat = [request for document in some for _, request in document]
                return like(some, super(ValueEvalHF, self).loglikelihood(flat, disable_tqdm=True))
            return reader.score(family, [encoded[row] for row in rows])

        def alone(request: Instance) -> LogLikelihood:
            answer: LogLikelihood
            (answer,) = super(ValueEvalHF, self).loglikelihood([request], disable_tqdm=True)
            return answer

        return self._apart(documents, lengths, together, alone)

    def _apart(
        self,
        documents: Sequence[Document],
        lengths: Sequence[int],
        together: Callable[[Sequence[int]], list[list[T]]],
        alone: Callable[[Instance], T],
    ) -> list[list[T]]:
        """Answers to documents, of which those beyond the limit of rotary positions are read alone.

        Args:
            documents: Requests about arguments.
            lengths: The most tokens of each document's prompts.
            together: Answers to the documents in these places.
            alone: The answer to one request.
        """
        limit = self._rope_limit
        beyond = [limit is not None and n + self._virtual_tokens > limit for n in lengths]
        near = [row for row, far in enumerate(beyond) if not far]
        answers = dict(zip(near, together(near), strict=True)) if near else {}
        far = [row for row, far in enumerate(beyond) if far]
        if far:
            logger.info("prompts beyond %s tokens, where positions change: each by itself", limit)
        for row in far:
            answers[row] = []
            for _, request in documents[row]:
                self._forget_lengths()
                answers[row].append(alone(request))
        return [answers[row] for row in range(len(documents))]

    @torch.no_grad()
    def _forget_lengths(self) -> None:
        """Dynamic NTK scaling remembers the longest prompt, up to the next short one."""
        self.model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=self.device))

    def _reader_of(self, length: int) -> CausalReader | EncoderDecoderReader | None:
        """What reads prompts of so many tokens, the longest of them; None: hf's own code."""
        if self._window is None or length + self._virtual_tokens <= self._window:
            return self._reader
        if self._far_reader is None:
            logger.info("prompts longer than the window of %d: each by itself", self._window)
        return self._far_reader

    def _within(self, context: str, continuation: str) -> Encoded:
        """Tokens of a request, cut on the left if they are too many (as hf does)."""
        encoded = self._encoded(context, continuation)
        if self.backend == "seq2seq":
            return Encoded(encoded.context[-self.max_length :], encoded.continuation)
        room = self.max_length + 1 - len(encoded.continuation)
        if room < 1:
            raise ValueEvalError(
                f"a continuation of {len(encoded.continuation)} tokens is longer than the "
                f"{self.max_length} that fit"
            )
        return Encoded(encoded.context[-room:], encoded.continuation)

    def _encoded(self, context: str, continuation: str) -> Encoded:
        """A request's tokens as lm-eval's TemplateLM.loglikelihood makes them."""
        if context:
            return Encoded(*self._encode_pair(context, continuation))
        tokens = self.tok_encode(continuation, add_special_tokens=False)
        if tokens[0] == self.prefix_token_id:
            return Encoded(tokens[:1], tokens[1:])
        return Encoded([self.prefix_token_id], tokens)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """As ``hf``, with the answers of ``--use_cache``."""
        if self._answers is None:
            return list(super().loglikelihood_rolling(requests, disable_tqdm))
        kind = "loglikelihood_rolling"
        found = [self._answers.find(kind, request.args) for request in requests]
        left = [one for one, known in zip(requests, found, strict=True) if known is None]
        new = iter(super().loglikelihood_rolling(left, disable_tqdm) if left else [])
        answers = [next(new) if known is None else known[0] for known in found]
        for request, answer in zip(requests, answers, strict=True):
            self._answers.keep(kind, request.args, answer, None)
        return answers

    def _thresholded(self, request: Instance, answer: LogLikelihood) -> LogLikelihood:
        """The answer such that a task's difference is less by the value's threshold (a logit)."""
        if self._manifest is None or not isinstance(request, ValueRequest):
            return answer
        if request.template != self._manifest.template or request.value is None:
            return answer
        threshold = float(self._manifest.thresholds.logits[request.value])
        # Log-likelihoods stay below 0: a threshold lowers one of the two, whichever it must.
        less = threshold if request.role in ("name", "yes") else -threshold
        return answer[0] - max(less, 0.0), answer[1]

    # ---------------------------------------------------------------------------- generation

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that follows each request's context."""
        return self._answered(
            "generate_until",
            requests,
            disable_tqdm,
            self._room,
            self._generated,
            lambda _, answer: answer,
        )

    def _room(self, request: Instance) -> int:
        """Tokens of context that leave room for the answer."""
        steps = normalize_gen_kwargs(request.args[1], self.max_gen_toks)["max_gen_toks"]
        room = self.max_length if self.backend == "seq2seq" else self.max_length - steps
        if room < 1:
            raise ValueEvalError(
                f"{request.task_name}: {steps} tokens to generate leave no room for the prompt: "
                f"{self.max_length} fit in all. Lower max_gen_toks (--gen_kwargs)."
            )
        return room

    def _generated(self, family: str, documents: Sequence[Document]) -> list[list[str]]:
        """Documents whose requests all have the same settings (see `chunks`)."""
        request = documents[0][0][1]
        kwargs = normalize_gen_kwargs(request.args[1], self.max_gen_toks)
        reason = not_greedy(kwargs, getattr(self.model, "generation_config", None))
        if self.think_end_token is not None:
            reason = "think_end_token"
        room, steps = self._room(request), kwargs["max_gen_toks"]
        contexts = [
            [self.tok_encode(r.args[0])[-room:] for _, r in document] for document in documents
        ]
        lengths = [max(map(len, row)) + steps for row in contexts]
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stop = Stop(self.tokenizer, handle_stop_sequences(kwargs["until"], eos=eos), self._ends())

        def together(rows: Sequence[int]) -> list[list[str]]:
            reader = self._reader_of(max(lengths[row] for row in rows))
            if reason is not None or reader is None:
                return self._generated_as_hf([documents[row] for row in rows], reason)
            grown = reader.generate(family, [contexts[row] for row in rows], steps, stop)
            return [[stop.text(tokens) for tokens in document] for document in grown]

        def alone(request: Instance) -> str:
            return self._generated_as_hf([[(0, request)]], reason)[0][0]

        return self._apart(documents, lengths, together, alone)

    def _generated_as_hf(
        self, documents: Sequence[Document], reason: str | None
    ) -> list[list[str]]:
        flat = [request for document in documents for _, request in document]
        if reason is not None:
            logger.info("generation with %s: by Transformers' generate()", reason)
        size = self.batch_size_per_gpu
        if self._virtual_tokens and self.backend == "causal":
            # PEFT puts virtual tokens before the padding of a batch.
            self.batch_size_per_gpu = 1
        try:
            return like(documents, super().generate_until(flat, disable_tqdm=True))
        finally:
            self.batch_size_per_gpu = size

    def _ends(self) -> set[int]:
        ends = getattr(self.model.generation_config, "eos_token_id", None)
        listed = ends if isinstance(ends, list) else [ends]
        return {end for end in (*listed, self.eot_token_id) if end is not None}

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """As ``hf``; remembers the last texts, as each prompt stands in several requests."""
        key = (string, add_special_tokens)
        tokens = self._remembered.get(key)
        if tokens is None:
            tokens = list(super().tok_encode(string, add_special_tokens, **kwargs))
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = tokens
        return tokens[-left_truncate_len:] if left_truncate_len else tokens

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``hf``, but an encoder's input is padded on the right, behind any virtual tokens."""
        if self.backend != "seq2seq":
            batch: tuple[torch.Tensor, torch.Tensor] = super().tok_batch_encode(
                strings, padding_side, left_truncate_len, truncation
            )
            return batch
        rows = [
            torch.tensor(self.tok_encode(text, left_truncate_len=left_truncate_len))
            for text in strings
        ]
        pad = self.tokenizer.pad_token_id
        padded = torch.nn.utils.rnn.pad_sequence
        return (
            padded(rows, batch_first=True, padding_value=pad),
            padded([torch.ones_like(row) for row in rows], batch_first=True),
        )

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any
    ) -> torch.Tensor:
        """As ``hf``, but a decoder's length does not grow with the encoder's input."""
        if self.backend == "seq2seq":
            # One more for the token that decoding starts with.
            max_length = max_length - context.shape[1] + 1
        tokens: torch.Tensor = super()._model_generate(context, max_length, stop, **kwargs)
        return tokens

    # ------------------------------------------------------------------------------ identity

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Keeps answers of ``--use_cache`` apart from those of any other model and adapter."""
        self._answers = Answers(cache_hook.dbdict, self._identity())

    def _identity(self) -> str:
        """Hash of what answers depend on beside the request (thresholds come after them)."""
        depend = identity.answers_depend_on(
            self.model, self.tokenizer, self.pretrained, self._given
        )
        made = {
            "dtype": str(getattr(self.model, "dtype", "")),
            "max_length": self.max_length,
            "bos": [self.add_bos_token, self.prefix_token_id],
            "backend": self.backend,
        }
        return identity.digest({**depend, **made})

    @cached_property
    def _adapter_hash(self) -> str | None:
        return identity.adapter_hash(self.peft)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes under ``config`` of the results.

        Beside ``hf``'s keys: ``valueeval`` describes the adapter (its manifest, or what PEFT's own
        files tell), ``arguments_cut`` counts arguments that were too long, by task, and
        ``prompts_cut`` those whose prompts are too long even without their premise.
        """
        info = dict(super().get_model_info())
        info["model_num_parameters"] = self._base_parameters
        if self.peft:
            info["peft_sha"] = self._adapter_hash
            info["valueeval"] = self._manifest.to_json() if self._manifest else self._described()
        elif self._manifest:
            info["valueeval"] = self._manifest.to_json()
        info.update(self._cuts.all())
        return info

    def _described(self) -> dict[str, Any]:
        """The adapter, as far as PEFT's own files tell: no data, no scores."""
        config = self.model.active_peft_config
        trained = identity.adapter_size(self.model)
        return {
            "method": identity.method_name(config),
            "base_model": {"name": str(self.pretrained), "revision": None, "sha256": None},
            "parameters": {"total": self._base_parameters + trained, "trainable": trained},
            "weights_sha256": self._adapter_hash,
            "config": {
                "peft_type": str(config.peft_type.value),
                "weights_sha256": self._adapter_hash,
            },
        }


def _document(request: Instance) -> tuple[Any, Any]:
    return request.task_name, request.args[0] if request.doc_id is None else request.doc_id


def _sampled(request: Instance) -> bool:
    """Whether each answer is drawn anew."""
    asked = request.args[1]
    return not isinstance(asked, str) and bool(asked.get("do_sample"))


@contextmanager
def _progress(requests: Sequence[Instance], disable: bool, kind: str) -> Iterator[Any]:
    with tqdm(total=len(requests), disable=disable, desc=f"Running {kind} requests") as bar:
        yield bar

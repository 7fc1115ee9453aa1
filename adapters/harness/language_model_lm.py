"""``--model valueeval`` for language models: base models, and PEFT adapters of any kind on them.

It takes the arguments of lm-eval's ``hf`` and gives its answers, but reads an argument once for all
questions about it, and puts soft prompts where they were in training.

A request walks one way: `documents` (distinct requests, by argument) → `encoding` → `truncation` →
a reader (:mod:`valueeval.adapters.reading`) → `thresholds`. What no reader can do (sampling, models
that keep their states in ways of their own) is left to the code of ``hf``, and the log says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import stop_sequences_criteria
from lm_eval.utils import simple_parse_args_string

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import local_folder
from valueeval.adapters.directory.peft_files import held_embeddings, put_adapter
from valueeval.adapters.harness import fingerprints
from valueeval.adapters.harness.answer_cache import AnswerCache
from valueeval.adapters.harness.argument_lm import join_processes
from valueeval.adapters.harness.base_model import check_base, refuse_classifier
from valueeval.adapters.harness.documents import Answers, unflatten
from valueeval.adapters.harness.encoding import Encoder, pad_rows
from valueeval.adapters.harness.generation import GenerationSettings, generation_settings
from valueeval.adapters.harness.prompts import ARGUMENT, PROMPT, Prompt
from valueeval.adapters.harness.resolved_adapter import ResolvedAdapter
from valueeval.adapters.harness.seen_labels import cv_data_of, refuse_seen_labels
from valueeval.adapters.harness.thresholds import (
    ModelCalibration,
    apply_thresholds,
    dtype_of_thresholds,
)
from valueeval.adapters.harness.truncation import Counts, CutCounter, fit_document
from valueeval.adapters.reading.choose_reader import ReaderChoice, choose_reader
from valueeval.adapters.reading.forms import FormOf
from valueeval.adapters.reading.guided import Guide
from valueeval.adapters.reading.soft_prompts import check_adapter, check_kind, virtual_tokens
from valueeval.adapters.reading.types import LoadedModel, LogLikelihood
from valueeval.adapters.runtime.batch_sizes import BatchLimits, BatchSizer
from valueeval.adapters.runtime.devices import check_dtype, choose_device, with_batch_size
from valueeval.adapters.runtime.options import check_batch_size, check_max_length
from valueeval.adapters.runtime.precision import widen_where_slow
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.tasks.harness.requests import ValueRequest

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Arguments that are encoded at a time: memory does not grow with their number, a bar moves.
_ENCODED_AT_ONCE = {"cpu": 8, "cuda": 128}
# Tokens in one forward pass for batch_size=auto: with more it gets no faster.
_AUTO_TOKENS = {"cpu": 1024, "cuda": 32768}
# Tokens whose keys and values are held then: a long few-shot prompt is copied for each argument.
_AUTO_HELD = {"cpu": 16384, "cuda": 65536}
_CUT = {
    ARGUMENT: "%s: %d arguments are longer than the %d tokens that fit and were cut%s",
    PROMPT: (
        "%s: the prompts about %d arguments are longer than the %d tokens that fit, even without "
        "the premise: they were cut on the left, so that the model does not see all of the "
        "instruction, the examples or the question (fewer --num_fewshot would help)%s"
    ),
}


class LanguageModelLM(HFLM):
    """A language model, with or without an adapter, that reads each argument once.

    ``batch_size`` counts arguments (for encoder-decoders: inputs of the encoder).

    Args:
        pretrained: As ``hf``: a hub id, a folder, or a model.
        peft: As ``hf``: a PEFT adapter, folder or hub id (also ``org/name@revision``). Its folder's
            tokenizer and chat template are used, unless ``tokenizer`` names another.
        adapter: The adapter directory that ``pretrained`` and ``peft`` were taken from, if any: the
            thresholds of its manifest apply.
        calibration: A file of ``valueeval calibrate``, fitted to this model and the task's prompt:
            decisions of templates with log-likelihoods are calibrated.
        other_wording: True to ask an adapter in another form (chat or plain, or with other
            arguments of the chat template) than it was trained in, which is refused otherwise.
        guided: True to hold generated answers to the form that their template asks for, so that all
            can be read (`valueeval.adapters.reading.guided`).
        **kwargs: As ``hf``. Without ``dtype`` an adapter with thresholds computes in float32, in
            which they were chosen.

    Raises:
        ValueEvalError: The model is a classifier, or the adapter is of a kind that cannot be
            evaluated; the message says what can be done.
    """

    _model: Any
    batch_size_per_gpu: int | str
    softmax_dtype: torch.dtype | None

    def __init__(
        self,
        pretrained: Any,
        peft: str | None = None,
        adapter: str | ResolvedAdapter | None = None,
        guided: bool = False,
        calibration: str | ModelCalibration | None = None,
        other_wording: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(calibration, str):
            named = {"pretrained": pretrained, **({"peft": peft} if peft else {})}
            calibration = ModelCalibration.from_args(calibration, named)
        self._calibration = calibration
        self._other_wording = other_wording
        if isinstance(adapter, str):
            given = {"adapter": adapter, "pretrained": pretrained, "peft": peft}
            adapter = ResolvedAdapter.from_args(given)
        self._manifest = adapter.manifest if adapter else None
        self._trained_on = self._manifest.data if self._manifest else None
        self._name = str(peft or pretrained)
        self._virtual_tokens = 0
        self._cuts = CutCounter()
        self._cache: AnswerCache | None = None
        check_batch_size(kwargs.get("batch_size"))
        for option in ("dtype", "softmax_dtype", "mixed_precision_dtype"):
            if option in kwargs:
                kwargs[option] = check_dtype(kwargs[option], option)
        if kwargs.get("device") is None:  # hf would take cuda, whether there is one or not
            kwargs["device"] = choose_device(None).type
        dtype = dtype_of_thresholds(self._manifest, kwargs.get("dtype"))
        if dtype is not None:
            kwargs["dtype"] = dtype
        check_max_length(kwargs.get("max_length"))
        revision = kwargs.get("revision")
        if peft:
            peft = str(local_folder(peft, revision))
            self._trained_on = self._trained_on or cv_data_of(peft)
            self._peft_config = check_adapter(peft)
        if isinstance(pretrained, str):
            refuse_classifier(pretrained, kwargs, None if peft else self._manifest)
            if peft and self._manifest:
                check_base(peft, self._manifest, pretrained, revision)
            if not kwargs.get("tp_plan"):
                # Else Accelerate would not know of processes on the CPU.
                join_processes(cpu=choose_device(kwargs.get("device")).type == "cpu")
        self._guided = guided
        self._given = {**kwargs, "peft": peft, **({"guided": True} if guided else {})}
        self._max_rows = kwargs.get("max_batch_size")
        self._told: set[str] = set()
        super().__init__(pretrained, peft=peft, **kwargs)
        # As readers do, so that scores of long prompts, which hf reads, are as exact.
        self.softmax_dtype = self.softmax_dtype or torch.float32
        if not peft:
            self._count_base_parameters()
        self._virtual_tokens = virtual_tokens(self._model)
        accelerator = getattr(self, "accelerator", None)
        if accelerator is not None:
            # hf does so only where a machine has several GPUs: else each would answer everything.
            self._rank, self._world_size = accelerator.process_index, accelerator.num_processes
        if self.prefix_token_id is None or self.eot_token_id is None:
            raise ValueEvalError(
                f"pretrained={pretrained}: its tokenizer has no end-of-sequence token: name one as "
                "eos_token in tokenizer_config.json, or take another with tokenizer=MODEL"
            )
        self._encoder = Encoder(
            self.tokenizer, self.backend, self.add_bos_token, self.prefix_token_id
        )
        if self._encoder.appended:
            logger.warning(
                "the tokenizer appends %r to every text: left out, as the answer must follow",
                self.tok_decode(self._encoder.appended, skip_special_tokens=False),
            )
        self._readers = self._choose_reader()

    # ------------------------------------------------------------------- as lm-eval makes it

    @classmethod
    def create(
        cls, resolved: ResolvedAdapter, additional_config: Mapping[str, Any] | None = None
    ) -> LanguageModelLM:
        """Return the model that ``--model_args`` name; they win over flags of the same name."""
        flags = with_batch_size(additional_config or {}, resolved.model_args)
        flags = {k: v for k, v in flags.items() if v is not None}
        given = {**flags, **resolved.model_args, "adapter": resolved}
        if path := given.get("calibration"):
            given["calibration"] = ModelCalibration.from_args(path, resolved.named_args)
        return cls(**given)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> LanguageModelLM:
        """Return the model that ``--model_args`` name.

        The base and the adapter that ``adapter`` stands for are entered in ``arg_dict``: lm-eval
        names the results' folder after them.
        """
        resolved = ResolvedAdapter.from_args(arg_dict)
        arg_dict.update(resolved.named_args)
        return cls.create(resolved, additional_config)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> LanguageModelLM:
        """Return the model, as :meth:`create_from_arg_obj`, from ``"key=value,key=value"``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    def _create_model(self, pretrained: str, peft: str | None = None, **kwargs: Any) -> None:
        """Load the model as ``hf``, but leave the base's embeddings as they are under an adapter.

        ``hf`` cuts them to the tokenizer's length, though models are often padded past it.
        """
        if peft and kwargs.get("delta"):
            raise ValueEvalError("--model_args: peft and delta cannot be used together.")
        if peft:
            check_kind(peft, self._peft_config, self.backend)
        try:
            super()._create_model(pretrained, peft=None, **kwargs)
        except (ImportError, ValueError) as error:
            attention = kwargs.get("attn_implementation")
            if attention is None or not _is_about_attention(error, attention):
                raise
            raise ValueEvalError(
                f"attn_implementation={attention}: it cannot be used here ({first_line(error)}).\n"
                "Take attn_implementation=sdpa, or leave it out: it is the fastest way to read."
            ) from error
        if kwargs.get("delta") and self._model.config.get_text_config().tie_word_embeddings:
            raise ValueEvalError(
                "--model_args: delta: hf adds it twice to embeddings that are a model's input and "
                "output at once (tie_word_embeddings): add it to the weights yourself"
            )
        if getattr(self._model, "generation_config", None) is not None:
            self._model.generation_config.max_new_tokens = None  # max_gen_toks says how many
        widen_where_slow(self._model, kwargs.get("dtype"))
        self._count_base_parameters()
        if not peft:
            return
        self._make_room_for_tokens(Path(peft))
        try:
            self._model = put_adapter(self._model, Path(peft))
        except ManifestError as error:
            raise ValueEvalError(
                f"peft={peft}: it does not go with the base model {pretrained}: {error}"
            ) from error
        # The base's weights are tied already. hf ties them once more, and fails on embeddings that
        # PEFT has wrapped.
        self._model.tie_weights = lambda *_, **__: None

    def _create_tokenizer(
        self, pretrained: Any, tokenizer: Any, subfolder: str | None = "", **kwargs: Any
    ) -> None:
        """Make the tokenizer as ``hf``, from the adapter's folder where that has one."""
        peft = self._given["peft"]
        own = peft is not None and not tokenizer
        if own and (Path(peft) / "tokenizer_config.json").is_file():
            logger.info("peft=%s: the tokenizer of its folder is used", peft)
            tokenizer, subfolder = peft, ""  # the base's subfolder
        try:
            super()._create_tokenizer(pretrained, tokenizer, subfolder=subfolder, **kwargs)
        except (OSError, ValueError, KeyError, ImportError) as error:
            if not own or tokenizer != peft:
                raise
            raise ValueEvalError(
                f"peft={peft}: the tokenizer in its folder cannot be read ({first_line(error)}): "
                "name one by tokenizer=MODEL"
            ) from error
        template = Path(peft) / "chat_template.jinja" if own else None
        if template is not None and tokenizer != peft and template.is_file():
            logger.info("peft=%s: the chat template of its folder is used", peft)
            self.tokenizer.chat_template = template.read_text(encoding="utf-8")

    def _make_room_for_tokens(self, peft: Path) -> None:
        """Give the base as many embeddings as the adapter was trained with."""
        inner, outer = self._model.get_input_embeddings(), self._model.get_output_embeddings()
        there, known = inner.num_embeddings, len(self.tokenizer)
        inner_rows, outer_rows = held_embeddings(self._model, peft)
        needed = inner_rows or outer_rows or max(there, known)
        random = []
        if inner_rows is None and not getattr(self._peft_config, "trainable_token_indices", None):
            random.append("input")
        if outer_rows is None and outer is not None and outer.weight is not inner.weight:
            random.append("output")
        if needed > there and random:
            logger.warning(
                "peft=%s: the adapter holds no %s embeddings for %d tokens that the base does not "
                "know (%s): they are random",
                peft,
                " and ".join(random),
                needed - there,
                ", ".join(
                    self.tokenizer.convert_ids_to_tokens(range(there, min(known, there + 3)))
                ),
            )
        if needed > max(there, known):
            logger.warning(
                "peft=%s: the adapter was trained with %d tokens, and the tokenizer knows %d: if "
                "some are its own, name its tokenizer by tokenizer=FOLDER",
                peft,
                needed,
                known,
            )
        if needed != there:
            self._model.resize_token_embeddings(needed, mean_resizing=False)

    def _count_base_parameters(self) -> None:
        parameters = getattr(self._model, "num_parameters", None)
        self._base_parameters = int(parameters()) if parameters else -1

    # -------------------------------------------------------------------------------- readers

    def loaded(self) -> LoadedModel:
        """Return the model and how it is run, as readers take it."""
        dtype = self.mixed_precision_dtype
        return LoadedModel(
            self.model,
            self.device,
            self.softmax_dtype or torch.float32,
            partial(torch.autocast, self.device.type, dtype=dtype, enabled=dtype is not None),
            self.backend,
        )

    def batch_limits(self) -> BatchLimits:
        """Return the limits of a batch that ``batch_size`` asks for."""
        if self.batch_size != "auto":
            return BatchLimits(int(self.batch_size))
        rows = None if self._max_rows is None else int(self._max_rows)
        kind = self.device.type if self.device.type in _AUTO_TOKENS else "cpu"
        return BatchLimits(rows, _AUTO_TOKENS[kind], _AUTO_HELD[kind])

    @cached_property
    def _sizer_as_hf(self) -> BatchSizer:
        return BatchSizer(self.batch_limits(), "prompts")

    def weights_changed(self) -> None:
        """Forget what was read with other weights (of a model in training)."""
        self._readers = self._choose_reader()

    def _choose_reader(self) -> ReaderChoice:
        choice = choose_reader(self.loaded(), self.batch_limits())
        if choice.near is None:
            logger.warning("%s: every prompt is read by itself, as hf does", choice.reason)
        elif choice.reason is not None and choice.window is None:
            logger.warning(
                "%s: the cache of each argument is copied for its questions", choice.reason
            )
        return choice

    @property
    def max_length(self) -> int:
        """Tokens of text that fit, after the virtual tokens before it."""
        return int(super().max_length) - self._virtual_tokens

    # ------------------------------------------------------------------------------- answers

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[LogLikelihood]:
        """Return the log-probability of each continuation, and whether it is the greedy one."""
        if self.enable_thinking:
            raise ValueEvalError(
                "enable_thinking=True: thinking models can only generate; use valueeval_mbc, "
                "valueeval_oa or valueeval_cot, or leave it out"
            )
        refuse_seen_labels(self._trained_on, self._name, requests)
        self._check_wording(requests)
        answers: Answers[LogLikelihood] = self._answers("loglikelihood", requests, disable_tqdm)
        before = self._cuts.counts()
        for family, documents in answers.unread(self._documents_at_once):
            prompts = [
                self._fit([one.request for one in document], self.max_length)
                for document in documents
            ]
            answers.record(documents, prompts, self._score(family, prompts))
        self._report_cuts(before)
        undefined = sum(math.isnan(score) for score, _ in answers.in_order())
        if undefined:
            logger.warning(
                "%d of %d log-likelihoods are not numbers and count as unparsed: the weights are "
                "broken, or overflow (try dtype=float32)",
                undefined,
                len(requests),
            )
        decided = apply_thresholds(self._manifest, requests, answers.in_order())
        return self._calibration.apply(requests, decided) if self._calibration else decided

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the text that follows each context."""
        if self._calibration:
            self._calibration.refuse_generation()
        refuse_seen_labels(self._trained_on, self._name, requests)
        self._check_wording(requests)
        answers: Answers[str] = self._answers("generate_until", requests, disable_tqdm)
        before = self._cuts.counts()
        for family, documents in answers.unread(self._documents_at_once):
            settings = generation_settings(self, documents[0][0].request, self.max_length)
            prompts = [
                self._fit([one.request for one in document], settings.room)
                for document in documents
            ]
            answers.record(documents, prompts, self._generate(family, prompts, settings))
        self._report_cuts(before)
        return answers.in_order()

    def _check_wording(self, requests: Sequence[Instance]) -> None:
        """Refuse to ask an adapter in another form than it was trained in, chat or plain."""
        manifest = self._manifest
        if manifest is None or self._other_wording:
            return
        trained = manifest.wording
        for request in requests:
            if not isinstance(request, ValueRequest) or request.template != manifest.template:
                continue
            remedy = ""
            if request.origin.wording not in (None, trained):
                remedy = (
                    f"run it {'with' if trained == 'chat' else 'without'} --apply_chat_template"
                )
            elif trained == "chat" and self.chat_template_args:
                # Training puts prompts in the template as it is.
                given = ", ".join(f"{k}={v}" for k, v in self.chat_template_args.items())
                remedy = f"leave out what changes the chat template ({given})"
            if remedy:
                raise ValueEvalError(
                    f"{request.task_name}: the adapter was trained on {trained} prompts: {remedy}, "
                    "or ask it in this form all the same by --model_args …,other_wording=True"
                )

    def fit(self, requests: Sequence[Instance]) -> list[Prompt]:
        """Return the prompts about one argument as they are read for an answer.

        Args:
            requests: Either continuations to score, or texts to generate with the same settings.
        """
        limit = self.max_length
        if requests[0].request_type == "generate_until":
            limit = generation_settings(self, requests[0], limit).room
        return self._fit(requests, limit)

    def _fit(self, requests: Sequence[Instance], limit: int) -> list[Prompt]:
        return fit_document(self._encoder, self._encoder.encode_document(requests), limit)

    def _answers(self, kind: str, requests: Sequence[Instance], disable_tqdm: bool) -> Answers[Any]:
        show = self.rank == 0 and not disable_tqdm
        return Answers(kind, requests, self._cache, self._cuts, show)

    @property
    def _documents_at_once(self) -> int:
        usual = _ENCODED_AT_ONCE.get(self.device.type, _ENCODED_AT_ONCE["cuda"])
        return usual if self.batch_size == "auto" else max(usual, int(self.batch_size))

    def _score(
        self, family: str, documents: Sequence[Sequence[Prompt]]
    ) -> list[list[LogLikelihood]]:
        pairs = [[prompt.tokens for prompt in document] for document in documents]
        lengths = [max(len(p.context) + len(p.continuation) for p in row) for row in pairs]
        scores: dict[int, list[LogLikelihood]] = {}
        for group in self._readers.plan(lengths):
            if group.reader is not None:
                found = group.reader.score(family, [pairs[row] for row in group.rows])
            else:
                found = self._score_as_hf([documents[row] for row in group.rows], group.beyond_rope)
            scores.update(zip(group.rows, found, strict=True))
        return [scores[row] for row in range(len(documents))]

    def _score_as_hf(
        self, documents: Sequence[Sequence[Prompt]], beyond_rope: bool
    ) -> list[list[LogLikelihood]]:
        def score(prompts: Sequence[Prompt]) -> list[LogLikelihood]:
            encoded = [(prompt.request.args, *prompt.tokens) for prompt in prompts]
            return list(self._loglikelihood_tokens(encoded, disable_tqdm=True))

        return self._read_as_hf(documents, beyond_rope, score)

    def _generate(
        self, family: str, documents: Sequence[Sequence[Prompt]], settings: GenerationSettings
    ) -> list[list[str]]:
        prompts = [[prompt.tokens.context for prompt in document] for document in documents]
        lengths = [max(map(len, row)) + settings.steps for row in prompts]
        texts: dict[int, list[str]] = {}
        for group in self._readers.plan(lengths):
            if group.reader is not None and settings.other_decoding is None:
                asked = [documents[row] for row in group.rows]
                rows = [prompts[row] for row in group.rows]
                found = group.reader.generate(
                    family, rows, settings.steps, settings.stop, self._form_of(asked, settings)
                )
                said = [[settings.stop.text(tokens) for tokens in row] for row in found]
            else:
                self._refuse_guided(settings.other_decoding)
                if settings.other_decoding is not None:
                    other = settings.other_decoding
                    self._tell(f"generation with {other}: by Transformers' generate()")
                rest = [documents[row] for row in group.rows]
                said = self._generate_as_hf(rest, group.beyond_rope, settings)
            texts.update(zip(group.rows, said, strict=True))
        return [texts[row] for row in range(len(documents))]

    def _form_of(
        self, documents: Sequence[Sequence[Prompt]], settings: GenerationSettings
    ) -> FormOf | None:
        """Return what makes the forms of answers; None if they are free."""
        if not self._guided:
            return None
        guide = Guide(self.tokenizer, settings.stop)
        return lambda d, k: guide.form(documents[d][k].request, settings.steps)

    def _refuse_guided(self, other_decoding: str | None) -> None:
        if self._guided:
            why = other_decoding or self._readers.reason or "these prompts are read one by one"
            raise ValueEvalError(
                f"guided=True works with greedy decoding by --model valueeval alone ({why}): "
                "drop one of the two"
            )

    def _generate_as_hf(
        self,
        documents: Sequence[Sequence[Prompt]],
        beyond_rope: bool,
        settings: GenerationSettings,
    ) -> list[list[str]]:
        def generate(prompts: Sequence[Prompt]) -> list[str]:
            requests = [prompt.request for prompt in prompts]
            return list(super(LanguageModelLM, self).generate_until(requests, disable_tqdm=True))

        # PEFT puts virtual tokens before the padding of a batch. hf looks for stop strings in as
        # many beams as there are prompts.
        causal = self.backend == "causal"
        alone = settings.beams > 1 or (causal and self._virtual_tokens > 0)
        return self._read_as_hf(documents, beyond_rope, generate, settings.steps, alone)

    def _read_as_hf(
        self,
        documents: Sequence[Sequence[Prompt]],
        beyond_rope: bool,
        answer: Callable[[Sequence[Prompt]], list[T]],
        steps: int = 0,
        alone: bool = False,
    ) -> list[list[T]]:
        """Return the answers of code of ``hf``, called for as many prompts as fit.

        For ``batch_size=auto`` ``hf`` tries out batches at every call: five passes over 64 prompts
        of the greatest length, up to the longest that the model takes. Calls come for each few
        documents here, so that the number of tokens decides instead.
        """
        self._log_one_by_one(beyond_rope)
        prompts = [prompt for document in documents for prompt in document]
        alone = alone or beyond_rope
        if not alone and self.batch_size != "auto":
            return unflatten(documents, answer(prompts))
        rows = _read_once(prompts)
        lengths = [sum(map(len, prompts[row[0]].tokens)) + steps for row in rows]
        order = sorted(range(len(rows)), key=lambda row: -lengths[row])
        sizer = BatchSizer(BatchLimits(1), "prompts") if alone else self._sizer_as_hf
        found: dict[int, T] = {}
        given = self.batch_size_per_gpu
        try:
            for batch in sizer.batches(order, sorted(lengths, reverse=True)):
                places = [place for row in batch.rows for place in rows[row]]
                self.batch_size_per_gpu = len(batch.rows)
                with batch.retry_smaller():
                    if beyond_rope:
                        self._forget_lengths()
                    answers = answer([prompts[place] for place in places])
                    found.update(zip(places, answers, strict=True))
        finally:
            self.batch_size_per_gpu = given
        return unflatten(documents, [found[place] for place in range(len(prompts))])

    def _log_one_by_one(self, beyond_rope: bool) -> None:
        if beyond_rope:
            limit = self._readers.rope_limit
            self._tell(f"prompts beyond {limit} tokens, where positions change: each by itself")
        elif self._readers.near is not None and self._readers.far is None:
            window = self._readers.window
            if window is not None:
                self._tell(f"prompts longer than the window of {window}: each by itself")

    def _tell(self, message: str) -> None:
        """Log a message once a run."""
        if message not in self._told:
            self._told.add(message)
            logger.warning(message)

    @torch.no_grad()
    def _forget_lengths(self) -> None:
        """Reset dynamic NTK scaling: it remembers the longest prompt up to the next short one."""
        self.model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=self.device))

    def _report_cuts(self, before: Counts) -> None:
        """Log what was cut since the counts ``before``."""
        share = f" (process {self.rank})" if self.world_size > 1 else ""
        for lost, task, number in self._cuts.since(before):
            logger.warning(_CUT[lost], task, number, self.max_length, share)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """Gather objects; truncation counts come along, as only process ``dst`` writes results."""
        return self._cuts.separate(super().gather_object((obj, self._cuts.counts()), dst))

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return what ``hf`` does, with the answers of ``--use_cache``."""
        if self._cache is None:
            return list(super().loglikelihood_rolling(requests, disable_tqdm))
        kind = "loglikelihood_rolling"
        found = [self._cache.find(kind, request.args) for request in requests]
        left = [one for one, known in zip(requests, found, strict=True) if known is None]
        new = iter(super().loglikelihood_rolling(left, disable_tqdm) if left else [])
        answers = [next(new) if known is None else known[0] for known in found]
        for request, answer in zip(requests, answers, strict=True):
            self._cache.keep(kind, request.args, answer, None)
        return answers

    def _detect_batch_size(self, requests: Sequence[Any] | None = None, pos: int = 0) -> int:
        """Return how many texts of the greatest length hold as many tokens as a batch elsewhere.

        ``hf`` tries batches of 64 of them out, before every call.
        """
        limits = self.batch_limits()
        size = (limits.tokens or 0) // self.max_length
        return max(1, min(size, limits.rows or size))

    # -------------------------------------------------------------------------------- tokens

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Encode as ``hf``, without the tokens that a tokenizer appends to every text."""
        tokens = self._encoder.encode_text(string, add_special_tokens)
        return tokens[-left_truncate_len:] if left_truncate_len else tokens

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode as ``hf``, but pad an encoder's input on the right, behind any virtual tokens.

        Tokens that a tokenizer appends to every text are left out, as in `tok_encode`.
        """
        if self.backend != "seq2seq" and not self._encoder.appended and all(strings):
            batch: tuple[torch.Tensor, torch.Tensor] = super().tok_batch_encode(
                strings, padding_side, left_truncate_len, truncation
            )
            return batch
        rows = [
            self.tok_encode(text, left_truncate_len=left_truncate_len) or [self.prefix_token_id]
            for text in strings
        ]
        side = "right" if self.backend == "seq2seq" else "left"
        return pad_rows(rows, self.tokenizer.pad_token_id, side)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the turns of a chat as a prompt, as ``hf``.

        Raises:
            ValueEvalError: The tokenizer has no chat template.
        """
        try:
            return str(super().apply_chat_template(chat_history, add_generation_prompt))
        except ValueError as error:
            if getattr(self.tokenizer, "chat_template", None):
                raise
            raise ValueEvalError(
                f"{self._name}: its tokenizer has no chat template: leave --apply_chat_template "
                "out, or take a model with a chat template"
            ) from error

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any
    ) -> torch.Tensor:
        """Generate as ``hf``, but for what it takes from the length of an encoder's input.

        That is an answer's greatest length, and where stop strings are looked for.
        """
        tokens: torch.Tensor
        if self.backend != "seq2seq":
            tokens = super()._model_generate(context, max_length, stop, **kwargs)
            return tokens
        if not kwargs.get("do_sample"):
            kwargs.pop("temperature", None)
        started = 1  # the token that decoding starts with
        with self.loaded().autocast():
            tokens = self.model.generate(
                input_ids=context,
                max_length=started + max_length - context.shape[1],
                stopping_criteria=stop_sequences_criteria(
                    self.tokenizer, stop, started, context.shape[0]
                ),
                pad_token_id=self.tokenizer.pad_token_id,
                use_cache=True,
                **kwargs,
            )
        return tokens

    # ------------------------------------------------------------------------------ identity

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Keep answers of ``--use_cache`` apart from those of any other model and adapter."""
        self._cache = AnswerCache(cache_hook.dbdict, self._identity())

    def _identity(self) -> str:
        """Return a hash of what answers depend on beside the request (thresholds come later)."""
        made_with = fingerprints.answers_depend_on(
            self.model, self.tokenizer, self.pretrained, self._given
        )
        settings = {
            "dtype": str(getattr(self.model, "dtype", "")),
            "max_length": self.max_length,
            "bos": [self.add_bos_token, self.prefix_token_id],
            "backend": self.backend,
            **({"appended": self._encoder.appended} if self._encoder.appended else {}),
        }
        return fingerprints.digest({**made_with, **settings})

    @cached_property
    def _adapter_hash(self) -> str | None:
        return fingerprints.adapter_hash(self.peft)

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval writes under ``config`` of the results.

        Beside the keys of ``hf``: ``valueeval`` describes the adapter (its manifest, or what PEFT's
        own files tell), ``reading`` says how prompts that share a beginning are read, and why, by
        which attention, and how many arguments at once,
        ``calibration`` what was subtracted from scores and what that has seen, ``arguments_cut``
        counts arguments that were too long, by task, and ``prompts_cut`` those whose prompts are
        too long even without their premise.
        """
        info = dict(super().get_model_info())
        info["model_num_parameters"] = self._base_parameters
        if self.peft:
            info["peft_sha"] = self._adapter_hash
            info["valueeval"] = self._manifest.to_json() if self._manifest else self._described()
        elif self._manifest:
            info["valueeval"] = self._manifest.to_json()
        info["reading"] = {
            **self._readers.describe(),
            "attention": getattr(self.model.config, "_attn_implementation", None),
            "batch_size": self.batch_size,
        }
        info["guided"] = self._guided
        info["calibration"] = self._calibration.describe() if self._calibration else None
        info.update(self._cuts.all_counts())
        return info

    def _described(self) -> dict[str, Any]:
        """Describe the adapter as far as PEFT's own files tell: no data, no scores."""
        config = self.model.active_peft_config
        trained = fingerprints.adapter_size(self.model)
        return {
            "method": fingerprints.method_name(config),
            "base_model": {"name": str(self.pretrained), "revision": None, "sha256": None},
            "parameters": {"total": self._base_parameters + trained, "trainable": trained},
            "weights_sha256": self._adapter_hash,
            "config": {
                "peft_type": str(config.peft_type.value),
                "weights_sha256": self._adapter_hash,
            },
        }


def _read_once(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Return the places of prompts, those together that ``hf`` reads once: the last token aside."""
    rows: dict[Any, list[int]] = {}
    for place, prompt in enumerate(prompts):
        context, continuation = prompt.tokens
        key = (*context, *continuation[:-1]) if continuation else place
        rows.setdefault(key, []).append(place)
    return list(rows.values())


def _is_about_attention(error: Exception, attention: str) -> bool:
    """Return whether an error says that a way to compute attention cannot be used."""
    said = str(error).lower()
    return "attention" in said or attention.lower() in said

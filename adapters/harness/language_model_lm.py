"""``--model valueeval`` for language models: base models and PEFT adapters of any kind.

Takes what lm-eval's ``hf`` takes, and gives its answers; but an argument is read once for all
questions about it, and soft prompts stand where they were in training. What this cannot do
(sampling, models that keep their states in ways of their own), ``hf``'s own code does, and the log
says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar, cast

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import simple_parse_args_string

from valueeval.adapters.directory.hub import local_folder
from valueeval.adapters.harness import identity
from valueeval.adapters.harness.answer_cache import AnswerCache
from valueeval.adapters.harness.answering import RequestType, answer_requests
from valueeval.adapters.harness.argument_lm import join_processes
from valueeval.adapters.harness.choose_reader import Readers
from valueeval.adapters.harness.cuts import ARGUMENT, PROMPT, Counts, Cuts
from valueeval.adapters.harness.documents import Document
from valueeval.adapters.harness.encoding import count_read, encode_within, pad_right
from valueeval.adapters.harness.generation import GenerationRequests
from valueeval.adapters.harness.loglikelihood import LogLikelihoodRequests
from valueeval.adapters.harness.truncation import cut_documents
from valueeval.adapters.reading.causal import EncodedPair
from valueeval.adapters.reading.soft_prompts import check_adapter, check_kind, virtual_tokens
from valueeval.adapters.reading.tree_attention import LogLikelihood
from valueeval.adapters.runtime.devices import check_batch_size, check_dtype, choose_device
from valueeval.tasks.errors import ValueEvalError, first_line

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R", bound=Instance)

# Arguments that are tokenised at a time: memory does not grow with their number, a bar moves.
_CHUNK = {"cpu": 8, "cuda": 128}
# Texts whose tokens are kept: those of a chunk of valueeval_bca.
_REMEMBERED = 60 * 128
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
        self._cache: AnswerCache | None = None
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
        self._readers = Readers(self, self._virtual_tokens)

    # ------------------------------------------------------------------- as lm-eval makes it

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> LanguageModelLM:
        """The model from ``--model_args``; they win over flags of the same name.

        What an ``adapter`` stands for is entered in ``arg_dict``, from which lm-eval takes the name
        of the results' folder: of one from the hub its name there.
        """
        flags = {k: v for k, v in (additional_config or {}).items() if v is not None}
        return cls(**{**flags, **identity.enter_adapter(arg_dict)})

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> LanguageModelLM:
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
                f"({first_line(error)}).\n"
                "Give the base that it was trained on: pretrained=MODEL"
            ) from error
        # The base's weights are tied already. hf ties them once more, and fails on embeddings that
        # PEFT has wrapped.
        self._model.tie_weights = lambda *_, **__: None

    def _note_model(self) -> None:
        parameters = getattr(self._model, "num_parameters", None)
        self._base_parameters = int(parameters()) if parameters else -1

    def weights_changed(self) -> None:
        """Forgets what the model said with other weights (a model in training)."""
        self._readers.choose()

    # --------------------------------------------------------------------------- lengths

    @property
    def _chunk(self) -> int:
        usual = _CHUNK.get(self.device.type, _CHUNK["cuda"])
        return usual if self.batch_size == "auto" else max(usual, int(self.batch_size))

    @property
    def max_length(self) -> int:
        """Tokens of text that fit, after the virtual tokens before it."""
        return int(super().max_length) - self._virtual_tokens

    def encoded(self, requests: Sequence[Instance]) -> list[EncodedPair]:
        """Tokens of scoring requests that fit (see `fitting`)."""
        return [encode_within(self, *request.args) for request in requests]

    def fitting(self, requests: Sequence[R]) -> tuple[list[R], bool]:
        """The requests about one argument, all scoring or all generating, cut as for an answer.

        Also whether something was cut.
        """
        limits = {
            LogLikelihoodRequests.kind: self._scoring.limit,
            GenerationRequests.kind: self._generation.limit,
        }
        document: Document = list(enumerate(requests))
        lost = self._fits([document], limits[requests[0].request_type])
        return [cast(R, request) for _, request in document], bool(lost)

    def _fits(
        self, documents: Sequence[Document], limit: Callable[[Instance], int]
    ) -> dict[int, str]:
        """Cuts arguments of ValueEval requests that are too long, as `cut_documents`."""
        return cut_documents(documents, limit, partial(count_read, self))

    def _report_cuts(self, before: Counts) -> None:
        """Says what has been cut since there were so many."""
        share = f" (process {self.rank})" if self.world_size > 1 else ""
        for what, task, number in self._cuts.since(before):
            logger.warning(_CUT[what], task, number, self.max_length, share)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """As ``hf``; what each process has cut comes along, as only ``dst`` writes results."""
        return self._cuts.gathered(super().gather_object((obj, self._cuts.own()), dst))

    # ------------------------------------------------------------------------------- answers

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[LogLikelihood]:
        """Log-probability of each request's continuation, and whether it is the greedy one."""
        return self._answered(self._scoring, requests, disable_tqdm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that follows each request's context."""
        return self._answered(self._generation, requests, disable_tqdm)

    @property
    def _scoring(self) -> LogLikelihoodRequests:
        return LogLikelihoodRequests(self, self._readers, self._manifest)

    @property
    def _generation(self) -> GenerationRequests:
        return GenerationRequests(self, self._readers)

    def _answered(
        self, request_type: RequestType[T], requests: Sequence[Instance], disable_tqdm: bool
    ) -> list[T]:
        before = self._cuts.own()
        show = self.rank == 0 and not disable_tqdm
        answers = answer_requests(
            request_type, requests, self._fits, self._chunk, self._cuts, self._cache, show
        )
        self._report_cuts(before)
        return answers

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """As ``hf``, with the answers of ``--use_cache``."""
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

    # -------------------------------------------------------------------------------- tokens

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
        rows = [self.tok_encode(text, left_truncate_len=left_truncate_len) for text in strings]
        return pad_right(rows, self.tokenizer.pad_token_id)

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
        self._cache = AnswerCache(cache_hook.dbdict, self._identity())

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

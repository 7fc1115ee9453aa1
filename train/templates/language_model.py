"""Load, question and evaluate the language model of a run with ``--template``."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import set_seed
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from valueeval.adapters.classifier.backbones import load_weights, read_config
from valueeval.adapters.directory.base import Base
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.harness.prompts import Prompt
from valueeval.tasks.data.dataset import DataSet
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.questions import ChatTemplate, questions
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.templates.decide import Decision, decide
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.config import ThresholdsName, TrainConfig
from valueeval.train.config.model import GENERATED, Template
from valueeval.train.loop.evaluation import Evaluation
from valueeval.train.loop.thresholds import choose_thresholds
from valueeval.train.methods.matching import matched
from valueeval.train.objectives.bce import Bce
from valueeval.train.objectives.losses import positive_weights
from valueeval.train.runtime.dropout import use_fast_dropout
from valueeval.train.runtime.evaluation_mode import evaluating
from valueeval.train.runtime.processes import Processes
from valueeval.train.runtime.progress import Pulse, note
from valueeval.train.templates.questions import answered
from valueeval.train.templates.verbaliser import Asked, Questions

_READ_AT_ONCE = 8  # arguments, in evaluation
_ASKED_AT_ONCE = 64  # arguments, between two looks at the clock
_NOT_A_NUMBER = (math.nan,) * len(VALUE_NAMES)


def load_language_model(base: Base) -> nn.Module:
    """Return the causal model or encoder-decoder of a Transformers model directory, in float32.

    Raises:
        ValueEvalError: The model is neither, or cannot be read.
    """
    config = read_config(base.path)
    return load_weights(_kind(config, base), base.path, config, "language model")


def _kind(config: Any, base: Base) -> Any:
    if config.is_encoder_decoder and config.model_type in (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    ):
        return AutoModelForSeq2SeqLM
    named = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if named is None or (encoder and named not in (config.architectures or ())):
        raise ValueEvalError(
            f"--template: base model {base.name!r} ({config.model_type}) is no language model, so "
            "it cannot answer in words: leave --template out (a classifier head), or use a GPT-2, "
            "Llama, Qwen, T5 … as --base"
        )
    return AutoModelForCausalLM


def build_language_model(
    config: TrainConfig, base: Base, instruction: str, device: torch.device
) -> nn.Module:
    """Return the base model, prepared for the method, with random parts drawn by the seed."""
    method, model = matched(
        config.method, load_language_model(base), base, instruction, config.trainable_parameters
    )
    set_seed(config.seed)
    model = method.prepare(model, base, instruction)
    use_fast_dropout(model)
    return model.to(device)


def harness_model(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> LanguageModelLM:
    """Return the model as the harness runs it: the same tokens, cuts and answers."""
    with _quiet_harness(), evaluating(model):
        return LanguageModelLM(pretrained=model, tokenizer=tokenizer, batch_size=_READ_AT_ONCE)


def questions_of(lm: LanguageModelLM, task: Any, data: DataSet, config: TrainConfig) -> Questions:
    """Return the questions about the arguments of a set and, for generated templates, the answers.

    Prompts are cut as in evaluation, where a generated answer needs room.
    """
    template = config.template
    assert template is not None  # noqa: S101 (for the type checker)
    power = config.loss.pos_weight_power if isinstance(config.loss, Bce) else 0.0
    weights = positive_weights(data.labels, power).tolist()
    number, asked = 0, []
    all_requests = questions(task, data.arguments, chat_template_of(lm, template))
    for requests, labels in zip(all_requests, data.labels, strict=True):
        prompts = lm.fit(requests)
        cut = any(prompt.lost for prompt in prompts)
        if task.template in GENERATED:
            # An answer may be longer than the space that is left for it.
            kept = cast(list[ValueRequest], [prompt.request for prompt in prompts])
            prompts = lm.fit(answered(task, kept, labels, end_of_answer(lm)))
            cut = cut or any(prompt.lost for prompt in prompts)
            tokens = [prompt.tokens for prompt in prompts]
            asked.append(Asked(tokens, [], _answer_weights(kept, labels, weights)))
        else:
            asked.append(_scored(requests, prompts))
        number += cut
    if number:
        note(
            f"{data.name}: {number} of {len(asked)} arguments are longer than the "
            f"{lm.max_length} tokens that fit with their prompts and were cut"
        )
    return Questions(asked)


def chat_template_of(lm: LanguageModelLM, template: Template) -> ChatTemplate | None:
    """Return the chat template that prompts are put in; None for plain ones.

    Raises:
        ValueEvalError: The base has none.
    """
    if not template.chat_template:
        return None
    if not lm.tokenizer.chat_template:
        raise ValueEvalError(
            "--chat_template: the base model's tokenizer has no chat template: leave it out, or "
            "take an instruction-tuned model as --base"
        )
    chat_template: ChatTemplate = lm.apply_chat_template
    return chat_template


def end_of_answer(lm: LanguageModelLM) -> str:
    """Return the text of the token that ends an answer."""
    return str(lm.tok_decode(lm.eot_token_id, skip_special_tokens=False))


def _scored(requests: Sequence[ValueRequest], prompts: Sequence[Prompt]) -> Asked:
    by_role = [
        (request.role, prompt.tokens) for request, prompt in zip(requests, prompts, strict=True)
    ]
    own = [tokens for role, tokens in by_role if role != "empty"]
    return Asked(own, [tokens for role, tokens in by_role if role == "empty"], [1.0] * len(own))


def _answer_weights(
    requests: Sequence[ValueRequest], labels: npt.NDArray[np.bool_], weights: Sequence[float]
) -> list[float]:
    return [
        weights[request.value] if request.value is not None and labels[request.value] else 1.0
        for request in requests
    ]


class EvaluateAnswers:
    """Evaluate a model on validation as the harness does.

    Args:
        lm: The model.
        template: The name of the template.
        asked: Its requests about each argument of validation.
        truth: Their labels, (arguments, 20).
        thresholds: The way to choose thresholds where answers are log-likelihoods.
        processes: The processes that share the arguments.
        name: The manifest's name for these arguments.
    """

    def __init__(
        self,
        lm: LanguageModelLM,
        template: str,
        asked: Sequence[Sequence[ValueRequest]],
        truth: npt.NDArray[np.bool_],
        thresholds: ThresholdsName,
        processes: Processes,
        name: str = "validation",
    ) -> None:
        self._lm = lm
        self._template = template
        self._asked = asked
        self._truth = truth
        self._thresholds = thresholds
        self._processes = processes
        self._name = name

    def __call__(self, model: nn.Module) -> Evaluation:
        """Return thresholds and scores of the model as it is now."""
        self._lm.weights_changed()
        decisions = self._decisions()
        if self._template in GENERATED:
            prediction = np.array([decision.prediction for decision in decisions])
            unparsed = np.array([decision.unparsed for decision in decisions])
            thresholds = choose_thresholds("half", self._truth, np.zeros_like(prediction))
            return Evaluation(thresholds, score(self._truth, prediction, unparsed), prediction)
        # No scores are scores that are not finite.
        scores = [decision.scores or _NOT_A_NUMBER for decision in decisions]
        logits = np.array(scores, dtype=np.float32)
        thresholds = choose_thresholds(self._thresholds, self._truth, logits, self._name)
        prediction = thresholds.decide(logits)
        finite = bool(np.isfinite(logits).all())
        return Evaluation(thresholds, score(self._truth, prediction), prediction, finite)

    def _decisions(self) -> list[Decision]:
        asked = self._processes.share(self._asked)
        ask: Any = self._lm.generate_until
        if self._template not in GENERATED:
            ask = self._lm.loglikelihood
        decisions, pulse = [], Pulse("validation", len(asked))
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            some = asked[start : start + _ASKED_AT_ONCE]
            flat = [request for requests in some for request in requests]
            answers = iter(ask(flat, disable_tqdm=True))
            decisions += [
                decide(self._template, [next(answers) for _ in requests]) for requests in some
            ]
            pulse.advance(len(some))
        return self._processes.collect(decisions)


@contextmanager
def _quiet_harness() -> Iterator[None]:
    """Silence lm-eval's warnings that it was given a model instead of a name."""
    logger = logging.getLogger("lm_eval.models.huggingface")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

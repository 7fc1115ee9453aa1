"""Language models that label texts by a template's prompts, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.adapters.predict.labelling import Labels, NamedValues
from valueeval.adapters.predict.model import LabellingModel
from valueeval.adapters.runtime.devices import choose_device
from valueeval.adapters.servers.chat_server_lm import ChatServerLM
from valueeval.tasks.data.dataset import Argument, DataSet
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.tasks.harness.origin import model_name
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.tasks.scores.calibration import Calibration, Origin, read_calibration
from valueeval.tasks.templates.decide import Decision, decide
from valueeval.tasks.values import VALUES

_OURS: Mapping[str, Any] = {"valueeval": ClassifierLM, "valueeval_chat": ChatServerLM}
_IN_PYTORCH = ("hf", "valueeval")
_SHOWN = 80  # characters of an answer that cannot be read


class PromptedModel(LabellingModel):
    """A language model that labels arguments by its answers to a template's questions.

    Args:
        name: Name to show.
        lm: The model, as lm-eval runs it.
        template: cls, mbc, bca, oa or cot.
        paraphrase: Which wording of it, from 1.
        apply_chat_template: True for the wordings and turns of a chat.
        calibration: What to subtract from its scores (cls, bca); None: nothing.
        model: Name of the model in results, which a calibration is checked against.

    Raises:
        ValueEvalError: There is no such paraphrase; the calibration is of another model or prompt.
    """

    rows_at_once = 128

    def __init__(
        self,
        name: str,
        lm: Any,
        template: str,
        paraphrase: int = 1,
        apply_chat_template: bool = False,
        calibration: Calibration | None = None,
        model: str | None = None,
    ) -> None:
        super().__init__(name)
        self._lm = lm
        self._task = load_task(template, paraphrase)
        self._chat_template = lm.apply_chat_template if apply_chat_template else None
        wording = "chat" if apply_chat_template else "plain"
        self._origin = Origin(model, template, paraphrase, wording, shots=0)
        self._calibration = calibration
        self._refuse_calibration(self._origin)

    def label(self, arguments: Sequence[Argument]) -> Labels | NamedValues:
        """Return the labels of arguments.

        Raises:
            ValueEvalError: One has no conclusion.
        """
        return self._label(arguments, None)

    def _label(self, arguments: Sequence[Argument], data: DataSet | None) -> Labels | NamedValues:
        """Return the labels of arguments, which are those of a set or (None) of a user."""
        if not all(argument.conclusion for argument in arguments):
            refuse_text_alone(self._task.template)
        asked = questions(self._task, arguments, self._chat_template)
        flat = [request for requests in asked for request in requests]
        # By it the model refuses sets whose labels it, or a calibration in model_args, has seen.
        asked_of = (None, None) if data is None else (data.name, data.sha256)
        for request in flat:
            request.origin = replace(request.origin, set=asked_of[0], data_sha256=asked_of[1])
        generates = self._task.OUTPUT_TYPE == "generate_until"
        answer = self._lm.generate_until if generates else self._lm.loglikelihood
        answers = iter(answer(flat, disable_tqdm=True))
        said = [[next(answers) for _ in requests] for requests in asked]
        decisions = [decide(self._task.template, each) for each in said]
        problems = [_problem(*each) for each in zip(decisions, said, strict=True)]
        unread = [decision.unparsed == 1 for decision in decisions]
        if generates:
            found = np.array([decision.prediction for decision in decisions])
            return NamedValues(found, problems, unread)
        unread = [decision.scores is None for decision in decisions]
        nothing = (0.0,) * len(VALUES)
        logits = np.array([decision.scores or nothing for decision in decisions])
        thresholds = np.zeros(len(VALUES))
        if self._calibration is not None:
            thresholds = np.array(self._calibration.thresholds)
            logits = self._calibration.apply(logits) + thresholds
        return Labels(logits, thresholds, problems, unread)

    def _label_set(self, data: DataSet) -> Labels | NamedValues:
        self._refuse_calibration(
            Origin(set=data.name, data_sha256=data.sha256, template=self._task.template)
        )
        return self._label(data.arguments, data)

    def _refuse_calibration(self, run: Origin) -> None:
        if self._calibration is None:
            return
        if (why := self._calibration.refusal(run, self.name)) is not None:
            raise ValueEvalError(f"calibration: {why}")

    def __repr__(self) -> str:
        words = f"template {self._task.template}, {self._origin.wording} wording"
        return f"<PromptedModel {self.name}: {words}>"


def load_prompted(
    model: str,
    model_args: str | Mapping[str, Any],
    template: str,
    paraphrase: int = 1,
    apply_chat_template: bool = False,
    calibration: str | None = None,
    device: str | None = None,
    batch_size: int | str = "auto",
    use_cache: str | None = None,
) -> PromptedModel:
    """Load a language model that labels by prompts.

    Args:
        model: Model of lm-eval: ``hf``, ``valueeval``, ``valueeval_chat``, ``vllm`` ….
        model_args: Its arguments: ``"pretrained=MODEL,dtype=bfloat16"``, or a mapping.
        template: cls, mbc, bca, oa or cot.
        paraphrase: Which wording of it, from 1.
        apply_chat_template: True for the wordings and turns of a chat.
        calibration: File of ``valueeval calibrate``.
        device: ``"cpu"``, ``"cuda"`` …; None: the best available.
        batch_size: Texts read at once, or ``"auto"``.
        use_cache: As ``lm_eval --use_cache``: answers are kept in, and taken from, this path's
            ``…_rank0.db``. For ``valueeval`` and ``valueeval_chat``.

    Raises:
        ValueEvalError: There is no such model or paraphrase, or the calibration is of another; or
            the model's answers cannot be kept.
    """
    from lm_eval.utils import simple_parse_args_string

    given = simple_parse_args_string(model_args) if isinstance(model_args, str) else model_args
    arguments = dict(given)
    if calibration is not None and arguments.get("calibration"):
        raise ValueEvalError("calibration is given twice: leave it out of model_args.")
    if use_cache is not None and model not in _OURS:
        raise ValueEvalError(
            f"--use_cache keeps answers of --model {' and '.join(_OURS)}, not of {clean(model)}: "
            "leave it out."
        )
    if batch_size == "auto" and model not in _OURS:
        batch_size = 1  # lm-eval would try sizes until memory is full
    if device is None and model in _IN_PYTORCH:
        device = str(choose_device(None))  # lm-eval would take a GPU, whether or not there is one
    flags = {"batch_size": batch_size, "max_batch_size": None, "device": device}
    lm = _model_class(model).create_from_arg_obj(arguments, flags)

    from lm_eval.api.model import CachingLM
    from lm_eval.loggers.evaluation_tracker import GeneralConfigTracker

    if use_cache is not None:
        CachingLM(lm, f"{use_cache}_rank0.db")  # gives it to our model, which looks answers up

    name = GeneralConfigTracker._get_model_name(arguments) or model
    # A chat server has no other form of prompts.
    chat = apply_chat_template or model == "valueeval_chat"
    return PromptedModel(
        name,
        lm,
        template,
        paraphrase,
        chat,
        None if calibration is None else read_calibration(calibration),
        model_name(name, arguments),
    )


def refuse_text_alone(template: str) -> None:
    """Refuse texts without a conclusion, which no prompt is worded for."""
    raise ValueEvalError(
        f"the prompts of template {template} are about a conclusion and a stance: give both (for "
        "a table: name their columns, or the same for every row: =TEXT and =for)."
    )


def _model_class(name: str) -> Any:
    """Return lm-eval's class of a model.

    Raises:
        ValueEvalError: There is none.
    """
    if name in _OURS:
        return _OURS[name]
    import lm_eval.models  # noqa: F401  (fills the registry)
    from lm_eval.api.registry import get_model

    try:
        return get_model(name)
    except (KeyError, ValueError) as error:
        raise ValueEvalError(f"model {clean(name)}: {first_line(error)}") from error


def _problem(decision: Decision, answers: Sequence[Any]) -> str | None:
    """Return what could not be read of the answers about an argument; None if all could."""
    if decision.unparsed == 0:
        return None
    if not isinstance(answers[0], str):
        return "log-likelihoods that are not numbers"
    if len(answers) > 1:
        number = round(decision.unparsed * len(answers))
        return f"{number} of {len(answers)} answers cannot be read"
    said = " ".join(clean(answers[0]).split())
    shown = said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"
    return f"the answer cannot be read: {shown}" if said else "the model gave no answer"

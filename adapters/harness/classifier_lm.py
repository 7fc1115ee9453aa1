"""``--model valueeval``: an adapter directory as a model of lm-eval."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lm_eval.api.instance import Instance
from tqdm import tqdm

from valueeval.adapters.classifier.classifier import Classifier
from valueeval.adapters.classifier.ensemble import Ensemble, load_members
from valueeval.adapters.directory.cross_validation import cross_validated, is_cross_validation
from valueeval.adapters.directory.ensemble import Members, adapter_name, find_members
from valueeval.adapters.harness.argument_lm import ArgumentLM
from valueeval.adapters.harness.base_model import is_plain_model
from valueeval.adapters.harness.prompts import ARGUMENT
from valueeval.adapters.harness.resolved_adapter import ResolvedAdapter
from valueeval.adapters.harness.seen_labels import refuse_seen_labels
from valueeval.adapters.harness.thresholds import ModelCalibration
from valueeval.adapters.harness.truncation import CutCounter
from valueeval.adapters.runtime.devices import choose_device, with_batch_size
from valueeval.adapters.runtime.options import parse_batch_size
from valueeval.tasks.data.dataset import CV, Argument
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest, argument_of

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ClassifierLM(ArgumentLM):
    """A trained classifier with a head, for tasks ``valueeval_cls`` and ``valueeval_bca``.

    It reads each argument once (a cross-encoder: once for each value), whatever the task's prompt
    says, and answers so that the tasks' difference of log-likelihoods is z - τ: its logit less the
    threshold in the manifest (as a logit). Batch size changes no answer beyond float noise.

    Args:
        adapter: The adapter directory, or several joined by ``+``: the mean of their answers; of
            the five folds of protocol ``cv``, each argument by the one that has not seen it.
        batch_size: Inputs read at once: a number, or ``"auto"``.
        device: Where to run; a GPU that is not there falls back to the CPU, as with ``hf`` (lm-eval
            says ``cuda:0`` by default).
        dtype: ``float32``, ``bfloat16`` or ``float16``; ``auto`` is float32, as trained.
        calibration: A file of ``valueeval calibrate``, fitted to this adapter and the task.

    Raises:
        ValueEvalError: The adapter or an argument cannot be used; the message says why.
    """

    def __init__(
        self,
        adapter: str | None = None,
        batch_size: int | str = 1,
        device: str | None = None,
        dtype: str = "auto",
        calibration: str | None = None,
    ) -> None:
        if not adapter:
            raise ValueEvalError(
                "--model valueeval needs --model_args adapter=DIR (an adapter directory), or "
                "pretrained=MODEL (a language model), with peft=DIR for a PEFT adapter on it."
            )
        self.name = adapter_name(adapter)
        self._calibration = (
            ModelCalibration.from_args(calibration, {"path": self.name}) if calibration else None
        )
        self._cuts = CutCounter()
        chosen = choose_device(device)
        self.batch_size = parse_batch_size(batch_size, chosen.type)
        super().__init__(cpu=chosen.type == "cpu")
        if self._accelerator is None:
            self._device = chosen
        _check_dtype(dtype)
        members = find_members(adapter)
        self._by_fold = is_cross_validation(members)
        if self._by_fold:
            members = cross_validated(members)
        self._manifest = members.manifest
        self._fold_of: dict[Argument, int] = {}
        self._classifier = _load(members, self._device, dtype)
        if self.rank == 0:
            logger.info("adapter %s runs on %s", self.name, self._device)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the classifier, or the language model, that ``--model_args`` name.

        See :class:`valueeval.adapters.harness.language_model_lm.LanguageModelLM` for these; and the
        base class.
        """
        resolved = ResolvedAdapter.from_args(arg_dict)
        if resolved.is_language_model:
            from valueeval.adapters.harness.language_model_lm import LanguageModelLM

            # lm-eval names the results' folder after these.
            arg_dict.update(resolved.named_args)
            return LanguageModelLM.create(resolved, additional_config)
        _refuse_what_is_for_language_models(arg_dict)
        flags = with_batch_size(additional_config or {}, arg_dict)
        return super().create_from_arg_obj(arg_dict, flags)

    @property
    def tokenizer(self) -> Any:
        """The adapter's tokenizer, which lm-eval notes in the results."""
        return self._classifier.tokenizer

    @property
    def max_length(self) -> int:
        """Tokens of an argument that are read at most."""
        return self._classifier.manifest.reading.max_length

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Answer as the base class; warn where the data were used in training."""
        refuse_seen_labels(self._manifest.data, self.name, requests)
        self._warn_of_seen_data({str(request.task_name) for request in requests})
        if self._by_fold:
            self._fold_of |= _folds(requests)
        before = self._cuts.counts()
        answers = super().loglikelihood(requests, disable_tqdm)
        cut = set(self._classifier.cut)
        for request in requests:
            # All are (see the base class).
            if isinstance(request, ValueRequest) and argument_of(request.doc) in cut:
                self._cuts.note(ARGUMENT, str(request.task_name), request.doc_id)
        for _, task, number in self._cuts.since(before):
            logger.warning(
                "%s, %s: %d arguments are longer than %d tokens and were cut",
                self.name,
                task,
                number,
                self.max_length,
            )
        return self._calibration.apply(requests, answers) if self._calibration else answers

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """Gather objects; truncation counts come along, as only process ``dst`` writes results."""
        return self._cuts.separate(super().gather_object((obj, self._cuts.counts()), dst))

    def differences(self, arguments: Sequence[Argument]) -> npt.NDArray[np.float64]:
        """Return logits less thresholds, z - τ: float64, shape (arguments, 20)."""
        if not self._by_fold or not isinstance(self._classifier, Ensemble):
            return self._margins(self._classifier, arguments)
        margins = np.empty((len(arguments), 20))
        folds = np.array([self._fold_of[argument] for argument in arguments])
        for fold in np.unique(folds).tolist():
            rows = np.flatnonzero(folds == fold).tolist()
            mine = [arguments[row] for row in rows]
            margins[rows] = self._margins(self._classifier.members[fold], mine)
        return margins

    def _margins(
        self, classifier: Classifier | Ensemble, arguments: Sequence[Argument]
    ) -> npt.NDArray[np.float64]:
        logits = np.empty((len(arguments), 20), dtype=np.float32)
        # Longest first, several batches at a time: little padding, and a bar that moves.
        order = sorted(range(len(arguments)), key=lambda i: -len(arguments[i].premise))
        step = 8 * self.batch_size
        with tqdm(total=len(order), desc="Reading arguments", disable=self.rank != 0) as bar:
            for start in range(0, len(order), step):
                rows = order[start : start + step]
                logits[rows] = classifier.logits([arguments[row] for row in rows], self.batch_size)
                bar.update(len(rows))
        if not np.isfinite(logits).all():
            raise ValueEvalError(
                f"{self.name}: its logits are not finite. Its weights are broken, or overflow: try "
                "dtype=float32."
            )
        thresholds: npt.NDArray[np.float64] = classifier.manifest.thresholds.logits
        return logits.astype(np.float64) - thresholds

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval writes under ``config`` of the results.

        ``valueeval`` is the manifest, ``calibration`` what was subtracted beside its thresholds and
        what that has seen, ``arguments_cut`` counts arguments that were too long, by task.
        """
        manifest, read_by = self._manifest, self._classifier
        if self._by_fold and isinstance(read_by, Ensemble):
            read_by = read_by.members[0]  # each argument is read by one of them
        parameters = list(read_by.model.parameters())
        return {
            "model_num_parameters": sum(parameter.numel() for parameter in parameters),
            "model_dtype": str(parameters[0].dtype),
            "model_revision": manifest.base_model.revision or "",
            "model_sha": manifest.weights_sha256,
            "valueeval": manifest.to_json(),
            "calibration": self._calibration.describe() if self._calibration else None,
            ARGUMENT: self._cuts.all_counts()[ARGUMENT],
        }

    def _warn_of_seen_data(self, tasks: set[str]) -> None:
        manifest = self._manifest
        seen = sorted(task for task in tasks if task.endswith("_validation"))
        if seen and manifest.data.name == "touche23" and self.rank == 0:
            trained = "validation" in manifest.data.set.split("+")
            logger.warning(
                "%s: %s validation, so the scores of %s are %s; report those of a test set",
                self.name,
                "was trained on" if trained else "epoch and thresholds were chosen on",
                ", ".join(seen),
                "worth nothing" if trained else "too good",
            )


def _refuse_what_is_for_language_models(arguments: dict[str, Any]) -> None:
    """Refuse arguments that do not go with an adapter with a head; drop those without effect."""
    adapter = arguments.get("adapter")
    for name in ("pretrained", "peft"):
        if given := arguments.get(name):
            raise ValueEvalError(
                f"--model_args: adapter={adapter} has a head and names its base model itself: "
                f"leave out {name}={given}"
            )
    if arguments.pop("trust_remote_code", False):
        raise ValueEvalError(
            f"--model_args: adapter={adapter} has a head, and with these no remote code is run: "
            "leave out trust_remote_code"
        )
    if adapter and is_plain_model(str(adapter)):
        raise ValueEvalError(
            f"--model_args: adapter={adapter} is a model, no adapter: for a language model "
            f"pretrained={adapter}; for a classifier train a head first (valueeval train)"
        )


def _check_dtype(dtype: str) -> None:
    if dtype != "auto" and dtype not in _DTYPES:
        allowed = ("auto", *_DTYPES)
        raise ValueEvalError(
            f"dtype: {dtype!r}; allowed: {', '.join(allowed)}{did_you_mean(dtype, allowed)}"
        )


def _folds(requests: Sequence[Instance]) -> dict[Argument, int]:
    """Return the fold of each argument that is asked about.

    Raises:
        ValueEvalError: A request is not about set ``cv``.
    """
    folds: dict[Argument, int] = {}
    for request in requests:
        if "fold" not in request.doc:
            raise ValueEvalError(
                f"{request.task_name}: the adapters of all folds of protocol {CV} answer tasks "
                f"valueeval_cls_{CV} and valueeval_bca_{CV} together; name one of them for others"
            )
        if isinstance(request, ValueRequest):
            folds[argument_of(request.doc)] = request.doc["fold"]
    return folds


def _load(members: Members, device: torch.device, dtype: str) -> Classifier | Ensemble:
    classifier = load_members(members, device)
    if dtype != "auto":
        classifier.model.to(_DTYPES[dtype])
    return classifier

"""Last station before the task decides: a manifest's thresholds, their precision, calibrations."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt
import torch
from lm_eval.api.instance import Instance
from lm_eval.loggers.evaluation_tracker import GeneralConfigTracker

from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.reading.types import LogLikelihood
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.origin import model_name
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores.calibration import Calibration, Origin, read_calibration, to_json

logger = logging.getLogger(__name__)


def dtype_of_thresholds(
    manifest: Manifest | None, dtype: str | torch.dtype | None
) -> str | torch.dtype | None:
    """Return the precision to compute in: that of an adapter's thresholds, if none was asked for.

    Training chooses thresholds by answers in float32. In bfloat16 those of a LoRA can be less by
    0.4 throughout (SmolLM2 on bca; log-odds), so that the same thresholds decide otherwise.

    Args:
        manifest: The adapter's manifest; None without one.
        dtype: The precision that the user asked for; None or ``auto`` if none.
    """
    if manifest is None or not manifest.thresholds.tuned:
        return dtype
    if dtype in (None, "auto"):
        return "float32"
    name = str(dtype).removeprefix("torch.")
    if name != "float32":
        logger.warning(
            "dtype=%s: the adapter's thresholds were chosen in float32, so its decisions may not "
            "be those that it was trained for (leave dtype out)",
            name,
        )
    return dtype


def apply_thresholds(
    manifest: Manifest | None, requests: Sequence[Instance], answers: Sequence[LogLikelihood]
) -> list[LogLikelihood]:
    """Return answers whose differences, as the task computes them, are less by the thresholds.

    Args:
        manifest: The adapter's manifest; None without one, and all answers stay as they are.
        requests: All requests of the run; those of other templates than the adapter's stay as they
            are.
        answers: The answer to each.
    """
    if manifest is None:
        return list(answers)
    ours = {
        place: request
        for place, request in enumerate(requests)
        if isinstance(request, ValueRequest)
        and request.template == manifest.template
        and request.value is not None
    }
    return _subtract(manifest.thresholds.logits.tolist(), ours, answers)


@dataclass(frozen=True)
class ModelCalibration:
    """A calibration as a model of lm-eval applies it: ``--model_args …,calibration=FILE``.

    Attributes:
        path: The file.
        calibration: The calibration in the file.
        model: Name of the model, as results of its runs have it; None if that is not known.
    """

    path: Path
    calibration: Calibration
    model: str | None

    @classmethod
    def from_args(cls, path: str | Path, arguments: Mapping[str, Any]) -> ModelCalibration:
        """Read the calibration that ``--model_args`` name.

        Args:
            path: Its file.
            arguments: All of them, as results hold them.

        Raises:
            ValueEvalError: The file cannot be read, or is no calibration.
        """
        name = GeneralConfigTracker._get_model_name(dict(arguments))
        return cls(Path(path), read_calibration(path), model_name(name, arguments))

    def apply(
        self, requests: Sequence[Instance], answers: Sequence[LogLikelihood]
    ) -> list[LogLikelihood]:
        """Return answers whose differences, as the tasks compute them, are calibrated.

        Args:
            requests: All requests of the run.
            answers: The answer to each.

        Raises:
            ValueEvalError: A request is of another model, prompt or task than the calibration, or
                about arguments whose labels it has seen.
        """
        ours: dict[int, ValueRequest] = {}
        checked: set[Origin] = set()
        for place, request in enumerate(requests):
            if not isinstance(request, ValueRequest) or request.value is None:
                raise ValueEvalError(
                    f"calibration={self.path}: {request.task_name} is no task that it is for: "
                    "run that one without it."
                )
            if request.origin not in checked:
                self._check(request)
                checked.add(request.origin)
            ours[place] = request
        return _subtract(self.calibration.offsets.tolist(), ours, answers)

    def describe(self) -> dict[str, Any]:
        """Return what the results say of it."""
        return to_json(self.calibration)

    def refuse_generation(self) -> NoReturn:
        """Refuse to generate: such answers have no scores."""
        raise ValueEvalError(
            f"calibration={self.path}: generated answers have no scores to calibrate. Run tasks of "
            f"template {self.calibration.origin.template} with it, and others without."
        )

    def _check(self, request: ValueRequest) -> None:
        run, name = replace(request.origin, model=self.model), str(request.task_name)
        if (why := self.calibration.refusal(run, name)) is not None:
            raise ValueEvalError(f"calibration={self.path}: {why}")


def _subtract(
    offsets: Sequence[float],
    requests: Mapping[int, ValueRequest],
    answers: Sequence[LogLikelihood],
) -> list[LogLikelihood]:
    """Return answers with offsets subtracted from the differences that the tasks compute.

    The offset of a value moves probability between yes and no (bca), and is added to what its name
    has after the empty argument (cls), so that the probability of saying one of the answers stays.

    Args:
        offsets: One for each value, in nats.
        requests: The requests whose answers it concerns, by place, each about one value.
        answers: All answers of the run.
    """
    moved = list(answers)
    questions: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, request in requests.items():
        offset = offsets[cast(int, request.value)]
        if offset == 0:  # the answers stay as they are, to the last bit
            continue
        if request.role == "empty":
            log_probability, greedy = answers[place]
            moved[place] = log_probability + offset, greedy
        elif request.role in ("yes", "no"):
            question = (request.task_name, request.doc_id, request.args[0], request.value)
            questions[question].append(place)
    for places in questions.values():
        # lm-eval repeats the last request of a process, so that all processes have as many.
        once = {id(requests[place]): place for place in places}
        asked = [requests[place] for place in once.values()]
        said = np.array([request.role == "yes" for request in asked])
        found = np.array([answers[place][0] for place in once.values()])
        new = _move_to_no(found, said, offsets[cast(int, asked[0].value)])
        of_request = dict(zip(once, new.tolist(), strict=True))
        for place in places:
            moved[place] = of_request[id(requests[place])], answers[place][1]
    return moved


def _move_to_no(
    found: npt.NDArray[np.float64], is_yes: npt.NDArray[np.bool_], offset: float
) -> npt.NDArray[np.float64]:
    """Return log-probabilities whose log-odds of yes are less by an offset, with the same sum.

    Args:
        found: Log-probabilities of the spellings of both answers.
        is_yes: Which of them are spellings of yes.
        offset: In nats.
    """
    yes, no = np.logaddexp.reduce(found[is_yes]), np.logaddexp.reduce(found[~is_yes])
    if not (np.isfinite(yes) and np.isfinite(no)):
        return found  # counted as unparsed, or certain whatever the offset
    both, odds = np.logaddexp(yes, no), yes - no - offset
    moves = np.where(
        is_yes, both - np.logaddexp(0.0, -odds) - yes, both - np.logaddexp(0.0, odds) - no
    )
    moved: npt.NDArray[np.float64] = found + moves
    return moved

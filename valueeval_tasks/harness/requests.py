"""The requests that our tasks send to a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.scores.calibration import Origin


def document_of(argument: Argument) -> dict[str, Any]:
    """Return the document of an argument: {id, conclusion, stance, premise}, without labels."""
    return asdict(argument)


def argument_of(document: dict[str, Any]) -> Argument:
    """Return the argument that a document is about; its labels are left where they are."""
    return Argument(document["id"], document["conclusion"], document["stance"], document["premise"])


@dataclass
class ValueRequest(Instance):
    """A request of lm-eval that also says what it asks, so that models need not parse prompts.

    ``doc`` is {id, conclusion, stance, premise, labels}; a model must not read ``labels``.

    Attributes:
        template: cls, mbc, bca, oa or cot.
        value: Index into ``VALUES``; ``None`` if the request is about all of them.
        role: cls: ``"name"`` (after the argument) or ``"empty"`` (after the empty one);
            bca: ``"yes"`` or ``"no"``; mbc, oa, cot: ``"answer"``.
        around_premise: The argument's text in the prompt before and after its premise, so that a
            model can shorten the premise and nothing else.
        delimiter: What stands between the prompt and an answer.
        origin: The prompt and the set that it belongs to, for calibrations; its model is not known.
    """

    template: str = ""
    value: int | None = None
    role: str = ""
    around_premise: tuple[str, str] = ("", "")
    delimiter: str = ""
    origin: Origin = field(default_factory=Origin)

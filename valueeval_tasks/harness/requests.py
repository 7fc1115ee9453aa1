"""The requests that our tasks send to a model."""

from __future__ import annotations

from dataclasses import dataclass

from lm_eval.api.instance import Instance


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
    """

    template: str = ""
    value: int | None = None
    role: str = ""
    around_premise: tuple[str, str] = ("", "")

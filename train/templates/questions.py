"""Make the right answers to a template's questions, which are the same as in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from valueeval.tasks.harness.questions import task_config
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.templates.decide import gold
from valueeval.tasks.templates.wording import Wording


def instruction(template: str, paraphrase: int) -> str:
    """Return the instruction that a template's prompts begin with."""
    config = task_config(template, paraphrase)
    return Wording(config["description"], config["doc_to_text"], config["question"]).description


def answered(
    task: ValueEvalTask,
    requests: Sequence[ValueRequest],
    labels: npt.NDArray[np.bool_],
    end: str,
) -> list[ValueRequest]:
    """Return the requests about an argument with the right answers, to be scored.

    Args:
        task: A task whose template is one of `GENERATED`.
        requests: The requests of `questions`, or shortened ones.
        labels: The argument's labels, (20,).
        end: The text of the token that ends an answer.
    """
    own = labels.astype(int).tolist()
    return [
        replace(
            cast(Any, request),
            request_type="loglikelihood",
            arguments=(
                request.args[0],
                request.delimiter + gold(task.template, own, request.value) + end,
            ),
        )
        for request in requests
    ]

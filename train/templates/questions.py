"""Make the right answers to a template's questions, which are the same as in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from valueeval.tasks.harness.questions import task_config
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.harness.task import ValueEvalTask, compile_wording
from valueeval.tasks.templates.decide import gold
from valueeval.train.config.model import Template


def instruction(template: Template) -> str:
    """Return the instruction that a template's prompts begin with."""
    config = task_config(template.name, template.paraphrase)
    changes = (config.get("chat") or {}) if template.chat_template else {}
    return compile_wording(config, config, changes).description


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

"""Make a template's questions about arguments, the same in training as in evaluation.

The prompts come from the task's own class and YAML file, so training uses the prompts that
`lm_eval --tasks valueeval_<template>` evaluates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from lm_eval.tasks._yaml_loader import load_yaml

from valueeval import tasks
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.harness.requests import ValueRequest, document_of
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.templates.decide import gold
from valueeval.tasks.templates.wording import Wording
from valueeval.train.config.choice import ConfigError


def load_task(template: str, paraphrase: int, split: str, data_dir: str | None) -> ValueEvalTask:
    """Return the task of a template on one of our sets.

    Raises:
        ConfigError: There is no such paraphrase.
    """
    config = _config(template, paraphrase)
    config.update(test_split=split, metadata={"data_dir": data_dir})
    return ValueEvalTask(config=config)


def instruction(template: str, paraphrase: int) -> str:
    """Return the instruction that a template's prompts begin with."""
    config = _config(template, paraphrase)
    return Wording(config["description"], config["doc_to_text"], config["question"]).description


def _config(template: str, paraphrase: int) -> dict[str, Any]:
    folder = Path(tasks.__path__[0])
    wording = f"_p{paraphrase}" if paraphrase > 1 else ""
    file = folder / f"valueeval_{template}{wording}.yaml"
    if not file.is_file():
        found = 1 + len(list(folder.glob(f"valueeval_{template}_p?.yaml")))
        raise ConfigError(f"paraphrase: {paraphrase}; allowed: 1 to {found}")
    return cast(dict[str, Any], load_yaml(file))


def questions(task: ValueEvalTask, arguments: Sequence[Argument]) -> list[list[ValueRequest]]:
    """Return the requests of the task about each argument, as a harness model gets them.

    Their ``doc`` has no labels.
    """
    asked = []
    for number, argument in enumerate(arguments):
        doc = document_of(argument)
        contexts = task.fewshot_context(doc, 0)
        name = str(task.config.task)
        asked.append(task.construct_requests(doc, contexts, metadata=(name, number, 1)))
    return asked


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
    delimiter, own = task.config.target_delimiter, labels.astype(int).tolist()
    return [
        replace(
            cast(Any, request),
            request_type="loglikelihood",
            arguments=(
                request.args[0],
                delimiter + gold(task.template, own, request.value) + end,
            ),
        )
        for request in requests
    ]

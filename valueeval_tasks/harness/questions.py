"""Ask a template's questions about arguments outside of an evaluation.

The prompts come from the task's own class and YAML file, so training and labelling use the prompts
that `lm_eval --tasks valueeval_<template>` evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from lm_eval.tasks._yaml_loader import load_yaml

from valueeval import tasks
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest, document_of
from valueeval.tasks.harness.task import ValueEvalTask

ChatTemplate = Callable[[list[dict[str, str]]], str]


def load_task(
    template: str, paraphrase: int, split: str = "sample", data_dir: str | None = None
) -> ValueEvalTask:
    """Return the task of a template on one of our sets.

    Raises:
        ValueEvalError: There is no such paraphrase.
    """
    config = task_config(template, paraphrase)
    config.update(test_split=split, metadata={"data_dir": data_dir})
    return ValueEvalTask(config=config)


def task_config(template: str, paraphrase: int) -> dict[str, Any]:
    """Return what the YAML file of a template holds.

    Raises:
        ValueEvalError: There is no such paraphrase.
    """
    folder = Path(tasks.__path__[0])
    wording = f"_p{paraphrase}" if paraphrase > 1 else ""
    file = folder / f"valueeval_{template}{wording}.yaml"
    if not file.is_file():
        found = 1 + len(list(folder.glob(f"valueeval_{template}_p?.yaml")))
        raise ValueEvalError(f"paraphrase: {paraphrase}; allowed: 1 to {found}")
    return cast(dict[str, Any], load_yaml(file))


def questions(
    task: ValueEvalTask,
    arguments: Sequence[Argument],
    chat_template: ChatTemplate | None = None,
) -> list[list[ValueRequest]]:
    """Return the requests of the task about each argument, as a harness model gets them.

    Args:
        task: The task.
        arguments: The arguments; the requests' ``doc`` has no labels.
        chat_template: The model's chat template, for the prompts of ``--apply_chat_template``;
            None: the plain prompts.
    """
    chat = chat_template is not None
    asked = []
    for number, argument in enumerate(arguments):
        doc = document_of(argument)
        contexts = task.fewshot_context(
            doc, 0, apply_chat_template=chat, chat_template=chat_template
        )
        metadata = (str(task.config.task), number, 1)
        asked.append(task.construct_requests(doc, contexts, metadata, chat, chat_template))
    return asked

"""Fixtures of the tests of tasks: a folder of data, and tasks loaded by their names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from tasks import FOLDER

from valueeval.tasks.data.dataset import file_names
from valueeval.tasks.harness.task import ValueEvalTask


@pytest.fixture(scope="module")
def official_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the official data; every set is a split of the sample set."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("training", "validation", "main", "zhihu", "nahjalbalagha", "nyt"):
        split = {"training": "sample-training", "validation": "sample-validation"}.get(
            name, "sample-test"
        )
        for kind, target in zip(("arguments", "labels"), file_names(name), strict=True):
            lines = (FOLDER / f"{kind}-{split}.tsv").read_text("utf-8").splitlines(keepends=True)
            # Ids of its own: the sets are also read together.
            mark = {"zhihu": "Z"}.get(name, "")
            text = lines[0] + "".join(mark + line for line in lines[1:])
            (folder / target).write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def load(official_layout: Path) -> Callable[..., ValueEvalTask]:
    """Load a task by name, with extra metadata as --metadata and --model_args give it."""

    @cache
    def manager(**metadata: Any) -> TaskManager:
        metadata = {"data_dir": str(official_layout), **metadata}
        return TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)

    def load_task(name: str, **metadata: Any) -> ValueEvalTask:
        task = manager(**metadata).load([name])["tasks"][name]
        task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(1234)
        return task

    return load_task

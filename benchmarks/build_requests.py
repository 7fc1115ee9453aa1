"""Measure how long a task takes to load 1576 arguments and build their requests.

Usage: ``python benchmarks/build_requests.py [--task valueeval_bca] [--data-dir DIR] [--chat]``

Prints lm-eval's own seconds (its import and the index of its tasks) and ours: finding our tasks,
then, best of three, reading the set and building the requests. Without the official files,
arguments of the sample set are repeated.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ARGUMENTS = 1576


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", default="valueeval_bca")
    parser.add_argument("--data-dir", help="the official files (default: $VALUEEVAL_DATA or cache)")
    parser.add_argument(
        "--chat", action="store_true", help="render a chat template for each prompt"
    )
    args = parser.parse_args()
    logging.disable(logging.INFO)
    os.environ["TQDM_DISABLE"] = "1"

    started = time.perf_counter()
    import lm_eval.tasks
    from lm_eval.api.task import ConfigurableTask  # noqa: F401 (timed: every run imports it)

    imported = time.perf_counter()
    lm_eval.tasks.TaskManager(include_path=[])
    indexed = time.perf_counter()
    print(f"lm-eval: import {imported - started:.2f} s, index of tasks {indexed - imported:.2f} s")

    import valueeval.tasks.harness.task
    from valueeval.tasks.data.dataset import DATA_VARIABLE

    folder = str(Path(valueeval.tasks.harness.task.__file__).parent)
    manager = lm_eval.tasks.TaskManager(include_path=folder, include_defaults=False)
    found = time.perf_counter() - indexed
    print(f"import of ours and index of our tasks {found:.2f} s")

    with TemporaryDirectory() as scratch:
        data_dir = args.data_dir or _official_or_made_up(Path(scratch))
        if data_dir:
            os.environ[DATA_VARIABLE] = data_dir
        runs = [_measure(manager, args.task, chat=args.chat) for _ in range(3)]
    load, build, requests = min(runs, key=lambda run: run[0] + run[1])
    print(f"{args.task}: load {load:.2f} s, build {requests} requests {build:.2f} s")
    print(f"together {found + load + build:.2f} s")


def _measure(manager: Any, name: str, *, chat: bool) -> tuple[float, float, int]:
    """Seconds to load the task, seconds to build its requests, and how many those are."""
    started = time.perf_counter()
    task = manager.load([name])["tasks"][name]
    loaded = time.perf_counter()
    task.set_config(key="num_fewshot", value=0)
    template = _chat_template() if chat else None
    task.build_all_requests(apply_chat_template=chat, chat_template=template)
    return loaded - started, time.perf_counter() - loaded, len(task.instances)


def _chat_template() -> Callable[..., Any]:
    """A template like those of chat models, rendered by the code that transformers uses."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template = (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}<|assistant|>\n"
    )

    def render(messages: list[dict[str, str]]) -> str:
        rendered, _ = render_jinja_template([messages], chat_template=template)
        return str(rendered[0])

    return render


def _official_or_made_up(scratch: Path) -> str | None:
    """``None`` where the official files are found, else a folder with a set of the same size."""
    from valueeval.tasks.data.dataset import (
        ARGUMENT_COLUMNS,
        LABEL_COLUMNS,
        find_data_dir,
        load_set,
    )
    from valueeval.tasks.errors import ValueEvalError

    try:
        find_data_dir()
    except ValueEvalError:
        sample = load_set("sample")
    else:
        return None
    print("no official files: arguments of the sample set, repeated")
    rows, labels = ["\t".join(ARGUMENT_COLUMNS)], ["\t".join(LABEL_COLUMNS)]
    for i in range(ARGUMENTS):
        argument, held = sample.arguments[i % 50], sample.labels[i % 50].astype(int)
        rows.append(f"B{i}\t{argument.conclusion}\t{argument.stance}\t{argument.premise}")
        labels.append("\t".join([f"B{i}", *map(str, held)]))
    (scratch / "arguments-test.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (scratch / "labels-test.tsv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    return str(scratch)


if __name__ == "__main__":
    main()

"""``valueeval archive RESULTS… -o FOLDER``: results and predictions, without the data's texts.

lm-eval logs every argument and every prompt beside its answers: 28 MB a run of `cls`, and texts
whose licence may not let one publish them. What a leaderboard needs is small: of the results file,
what says who was measured on what and how well; of the samples, the decisions, as a run file of the
shared task, and where the system gave them the 20 scores of each argument, as float16. Labels and
conclusions then come from the reader's copy of the data, which must have the same hash.
``valueeval leaderboard`` and ``valueeval compare`` read an archive as they read results.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from valueeval.leaderboard.reading.fields import mapping
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import (
    SCORES_FILE,
    Predictions,
    SamplesError,
    pack_scores,
    read_checked,
)
from valueeval.leaderboard.reading.results_files import load_content, read_results
from valueeval.leaderboard.reading.runs import RUN_FILE, Problem, Run
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.harness.model_names import sanitized, shortened
from valueeval.tasks.scores.runfile import write_run

# What a results file keeps. Not kept: the prompts and few-shot examples in `configs`, and what
# tells about the machine and its folders (`pretty_env_info`, hashes of the caller's repository).
_KEPT = (
    "results", "configs", "versions", "n-shot", "n-samples", "config", "date",
    "transformers_version", "lm_eval_version", "model_source", "model_name",
    "system_instruction_sha", "fewshot_as_multiturn", "chat_template_sha", "task_hashes",
    "total_evaluation_time_seconds",
)  # fmt: skip
_METADATA = (
    "version", "template", "paraphrase", "wording", "set", "sample", "data_sha256", "data_official",
    "votes", "name", "link", "fold",
)  # fmt: skip
_BY_TASK = ("results", "configs", "versions", "n-shot", "n-samples", "task_hashes")
_FOLDERS = re.compile(r"(?<![^+,=])(?:[A-Za-z]:)?[/\\~][^+,=]*[/\\]")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the archive, say what did not go into it, and return the exit status.

    Raises:
        ValueEvalError: Nothing to read, or the folder cannot be written.
    """
    arguments = build_parser().parse_args(argv)
    runs, problems = archive(arguments.results, arguments.output)
    for problem in problems:
        print(f"not archived: {problem.source}: {problem.reason}", file=sys.stderr)
    print(f"{runs} runs archived in {arguments.output}, {len(problems)} not", file=sys.stderr)
    return 1 if problems else 0


def archive(places: Sequence[str | Path], folder: Path) -> tuple[int, list[Problem]]:
    """Write each results file, with the predictions of its runs, into a folder.

    They are called NAME/results_DATE.json, NAME/samples_TASK_DATE.tsv and, with scores,
    NAME/samples_TASK_DATE.scores.safetensors there. A results file of which one run has no usable
    samples stays out.

    Args:
        places: Folders or files, as for :func:`find_results`.
        folder: Made if need be; the same run is written to the same files.

    Returns:
        How many runs were written, and what was not and why.

    Raises:
        ValueEvalError: Nothing to read, or `folder` cannot be written.
    """
    runs, problems = read_results(find_results(places))
    by_file: dict[Path, list[Run]] = {}
    for run in runs:
        by_file.setdefault(run.path, []).append(run)
    contents = {path: load_content(path) for path in by_file}
    shown = _shown_names({str(one.get("model_name") or "model") for one in contents.values()})
    written = 0
    for path, of_file in by_file.items():
        try:
            predictions = _predictions(of_file)
        except SamplesError as error:
            problems.append(Problem(of_file[0].source, str(error)))
            continue
        content = without_texts(contents[path], [run.task for run in of_file], shown)
        target = folder / folder_name(str(content.get("model_name") or "model"))
        try:
            target.mkdir(parents=True, exist_ok=True)
            with replacing(target / path.name) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise ValueEvalError(f"{target}: cannot be written ({error.strerror})") from error
        for name, each in predictions.items():
            write_run(target / name, each.ids, each.prediction)
            packed = pack_scores(each)
            if packed is not None:
                with replacing(target / name.replace(RUN_FILE, SCORES_FILE)) as temporary:
                    temporary.write_bytes(packed)
        written += len(of_file)
    return written, problems


def _shown_names(models: Collection[str]) -> dict[str, str]:
    """Return names for models whose own would be the same without their folders.

    Two checkpoints ``/x/a/final`` and ``/x/b/final`` are ``a/final`` and ``b/final``: nothing else
    in their results may tell them apart.
    """
    short: dict[str, list[str]] = defaultdict(list)
    for model in models:
        short[_FOLDERS.sub("", model)].append(model)
    shown: dict[str, str] = {}
    for alike in short.values():
        parts = 1
        if len(alike) == 1 or not all(map(_FOLDERS.fullmatch, (f"{one}/" for one in alike))):
            continue
        while len({_last_parts(one, parts) for one in alike}) < len(alike):
            parts += 1
        shown |= {one: _last_parts(one, parts) for one in alike}
    return shown


def _last_parts(path: str, number: int) -> str:
    return "/".join(re.split(r"[/\\]", path)[-number:])


def without_texts(
    content: Mapping[str, Any], tasks: Sequence[str], shown: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return of a results file's content what a leaderboard reads of `tasks`, and no more.

    Also cut are folders before the name of a model, a base or an adapter, where they begin at the
    root or at the user's home; ``shown`` names models that are called otherwise.
    """
    if name := (shown or {}).get(str(content.get("model_name"))):
        before = str(content["model_name"])
        content = _in_texts(content, lambda text: text.replace(before, name))
    kept = {key: content[key] for key in _KEPT if key in content}
    for key in _BY_TASK:
        if key in kept:
            kept[key] = {task: value for task, value in mapping(kept[key]).items() if task in tasks}
    kept["configs"] = {
        task: {"metadata": {key: value for key, value in mapping(config.get("metadata")).items()
                            if key in _METADATA}}
        for task, config in kept["configs"].items()
    }  # fmt: skip
    return {
        **kept,
        "config": _without_folders(mapping(kept.get("config"))),
        "model_name": _without_folders(kept.get("model_name")),
    }


def _without_folders(value: Any) -> Any:
    return _in_texts(value, lambda text: _FOLDERS.sub("", text))


def _in_texts(value: Any, changed: Callable[[str], str]) -> Any:
    """Return a value with every text in it changed, at any depth."""
    if isinstance(value, dict):
        return {key: _in_texts(each, changed) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_texts(each, changed) for each in value]
    return changed(value) if isinstance(value, str) else value


def _predictions(runs: Sequence[Run]) -> dict[str, Predictions]:
    """Return predictions by the name of the run file that they are to stand in."""
    found = {}
    for run in runs:
        predictions = read_checked(run)  # refuses a run that has none
        if run.samples is not None:
            found[run.samples.with_suffix(RUN_FILE).name] = predictions
    return found


def folder_name(model: str) -> str:
    """Return the name of a model's folder: lm-eval's, but for what no file system takes.

    That is a lone half of a surrogate pair, a zero byte, and dots that would hide or move it.
    """
    possible = model.encode(errors="replace").decode().replace("\0", "?")
    return sanitized(shortened(possible)).strip(".") or "model"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval archive",
        description="Copies results of lm_eval without the texts of the data, to keep or publish: "
        "scores, settings and predictions (as run files). `valueeval leaderboard` reads the copy "
        "wherever the same data are at hand.",
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS",
        help="folders (any depth) or results_*.json files, with --log_samples",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER",
        help="folder to write to; files that are already there stay",
    )  # fmt: skip
    parser.add_data_dir()
    return parser

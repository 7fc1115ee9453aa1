"""`valueeval train`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from valueeval.adapters.directory.manifest import Manifest
from valueeval.tasks.data.folds import CV_FOLDS, inner_fold
from valueeval.train.command_line import build_parser as build_parser
from valueeval.train.command_line import parse_config
from valueeval.train.config.config import TrainConfig


def main(argv: Sequence[str]) -> int:
    """Train an adapter as the command line asks; print where it is and how to evaluate it."""
    config = parse_config(argv)
    # After the options are known to be right: these imports take seconds.
    from valueeval.train.run import train
    from valueeval.train.runtime.processes import FailedElsewhereError, Processes

    try:
        manifest = train(config)
    except FailedElsewhereError:
        return 2
    processes = Processes()
    if processes.is_main:
        print(summary(config, manifest))
    processes.leave()
    return 0


def summary(config: TrainConfig, manifest: Manifest) -> str:
    """Return the adapter's folder, its validation scores and the command that evaluates it."""
    fold = f" --metadata '{{\"fold\": {config.fold}}}'" if config.protocol == "cv" else ""
    in_chat = " --apply_chat_template" if manifest.wording == "chat" else ""
    return (
        f"{config.output}: {_scores(config, manifest)}; {manifest.cost}\n"
        f"lm_eval --tasks {manifest.task} --model valueeval "
        f"--model_args {shlex.quote(f'adapter={config.output}')}{in_chat}{fold} "
        "--output_path results --log_samples"
    )


def _scores(config: TrainConfig, manifest: Manifest) -> str:
    if config.out_of_fold:
        return "trained on all folds, no argument left to score it on"
    scores = manifest.validation
    where = "validation" if config.folds is None else f"fold {config.fold} of {config.folds}"
    if config.protocol == "cv" and config.fold is not None:
        where = f"the inner fold {inner_fold(config.fold)} of {CV_FOLDS}"
    return f"macro_f1 {scores['macro_f1']:.4f}, official_f1 {scores['official_f1']:.4f} on {where}"

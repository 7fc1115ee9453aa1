"""`valueeval train`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from valueeval.adapters.manifest import Manifest
from valueeval.train.config import TrainConfig, parse_config


def main(argv: Sequence[str]) -> int:
    """Trains an adapter as the command line asks, and says where it is and how to evaluate it."""
    config = parse_config(argv)
    # After the options are known to be right: these imports take seconds.
    from valueeval.train.run import train

    print(summary(config, train(config)))
    return 0


def summary(config: TrainConfig, manifest: Manifest) -> str:
    """Where the adapter is, how good it is on validation, and the command that evaluates it."""
    scores = manifest.validation
    task = "valueeval_cls_sample" if config.data == "sample" else "valueeval_cls"
    return (
        f"{config.output}: macro_f1 {scores['macro_f1']:.4f}, official_f1 "
        f"{scores['official_f1']:.4f} on validation; {manifest.seconds:.0f} s, "
        f"{manifest.peak_memory_bytes / 2**30:.1f} GiB\n"
        f"lm_eval --tasks {task} --model valueeval "
        f"--model_args {shlex.quote(f'adapter={config.output}')} "
        "--output_path results --log_samples"
    )

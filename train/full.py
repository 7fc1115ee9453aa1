"""Method ``full``: all weights of an encoder are trained, with one linear layer on top.

The plainest way, and the upper bound that the parameter-efficient methods are measured against
(Devlin et al., 2019, section 3.2). The result is a Transformers model directory with
``head.safetensors`` beside it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from accelerate.utils import set_seed
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.base import Base, fetch_base
from valueeval.adapters.classifier import (
    ValueClassifier,
    check_max_length,
    encode,
    load_backbone,
    load_tokenizer,
    pad_token,
)
from valueeval.adapters.manifest import (
    BaseModel,
    Manifest,
    Parameters,
    TrainingData,
    combined_hash,
    describe_files,
    read_manifest,
    write_manifest,
)
from valueeval.tasks.data import DataSet, load_set
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config import TrainConfig
from valueeval.train.loop import METRICS_FILE, Fit, Split, Training
from valueeval.train.losses import build_loss
from valueeval.train.optimizer import parameter_groups
from valueeval.train.output import is_finished, new_adapter, run_folder
from valueeval.train.precision import with_known_precision
from valueeval.train.progress import note

_LIBRARIES = ("lm-eval-valueeval", "torch", "transformers", "accelerate", "numpy", "safetensors")


def train_full(config: TrainConfig) -> Manifest:
    """Trains, writes the adapter directory and returns its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged.
    """
    started = time.monotonic()
    config = with_known_precision(config.with_defaults())
    output = Path(config.output)
    if is_finished(output, config.recipe(), config.resume):
        note(f"{output} is finished already")
        return read_manifest(output)
    training, validation = load_splits(config)
    base = fetch_base(config.base, config.revision)
    run = {
        "config": config.recipe(),
        "training_sha256": training.sha256,
        "validation_sha256": validation.sha256,
        "base_sha256": base.sha256,
    }
    with run_folder(output, run, config.resume) as folder:
        tokenizer = load_tokenizer(base.path)
        model = build_model(config, base, tokenizer)
        fit = Training(
            config=config,
            model=model,
            groups=parameter_groups(
                model, config.learning_rate, config.layer_decay, config.weight_decay
            ),
            loss=build_loss(config, training.labels),
            training=tokenize(training, tokenizer, config),
            validation=tokenize(validation, tokenizer, config),
            padding=pad_token(tokenizer),
            folder=folder,
            started=started,
        ).run()
        with new_adapter(folder, output) as adapter:
            model.save(adapter)
            tokenizer.save_pretrained(adapter)
            shutil.copyfile(folder / METRICS_FILE, adapter / METRICS_FILE)
            manifest = describe(config, base, training, model, fit, adapter)
            write_manifest(adapter, manifest)
    return manifest


def load_splits(config: TrainConfig) -> tuple[DataSet, DataSet]:
    """The training and the validation set that the configuration names."""
    prefix = "sample_" if config.data == "sample" else ""
    return (
        load_set(f"{prefix}training", config.data_dir),
        load_set(f"{prefix}validation", config.data_dir),
    )


def build_model(
    config: TrainConfig, base: Base, tokenizer: PreTrainedTokenizerBase
) -> ValueClassifier:
    """The base with a new head, whose random weights depend on the seed alone."""
    backbone = load_backbone(base.path)
    check_max_length(backbone, tokenizer, config.max_length)
    set_seed(config.seed)
    return ValueClassifier(backbone, config.head.pooling, config.dropout, config.head.kind)


def tokenize(data: DataSet, tokenizer: PreTrainedTokenizerBase, config: TrainConfig) -> Split:
    """The arguments of a set as tokens; says how many of them were too long."""
    encoded = encode(tokenizer, data.arguments, config.input_format)
    if encoded.truncated:
        note(
            f"{data.name}: {encoded.truncated} of {len(data.arguments)} arguments are longer than "
            f"{config.max_length} tokens and were cut"
        )
    return Split(encoded, data.labels)


def describe(
    config: TrainConfig,
    base: Base,
    training: DataSet,
    model: ValueClassifier,
    fit: Fit,
    folder: Path,
) -> Manifest:
    """The manifest of a trained model whose files are in the folder."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    files = describe_files(folder)
    return Manifest(
        template=None,
        head=config.head,
        input=config.input_format,
        labels=VALUE_NAMES,
        base_model=BaseModel(base.name, base.revision, base.sha256),
        method="full",
        objective=config.loss,
        thresholds=fit.evaluation.thresholds,
        parameters=Parameters(
            total=sum(size for size, _ in sizes),
            trainable=sum(size for size, trained in sizes if trained),
        ),
        data=TrainingData(
            name=config.data,
            set=training.name.removeprefix("sample_"),
            size=len(training.arguments),
            sha256=training.sha256,
        ),
        seed=config.seed,
        config=config.recipe(),
        validation=fit.evaluation.scores,
        versions=versions(_LIBRARIES),
        seconds=round(fit.state.seconds, 1),
        peak_memory_bytes=fit.state.peak_memory_bytes,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        files=files,
        weights_sha256=combined_hash(files),
    )


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """The installed version of each library, by distribution name."""
    return {name: metadata.version(name) for name in libraries}

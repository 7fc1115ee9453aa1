"""The manifest of a finished run: what was trained, on what, how, and how good it is.

Its contents are explained in `valueeval.adapters.directory.manifest`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from torch import nn

from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.adapters.directory.base import Base
from valueeval.adapters.directory.input_format import Head
from valueeval.adapters.directory.manifest import BaseModel, Manifest, Parameters, TrainingData
from valueeval.adapters.directory.manifest_file import combined_hash, describe_files
from valueeval.tasks.data.dataset import CV_PARTS, DataSet
from valueeval.tasks.data.folds import CV_FOLDS
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.base_defaults import form_of
from valueeval.train.config.config import TrainConfig
from valueeval.train.data.run_inputs import RunInputs
from valueeval.train.loop.training import Fit
from valueeval.train.objectives.contrastive_stages import Joint

_LIBRARIES = (
    "lm-eval-valueeval",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "numpy",
    "safetensors",
)


def describe(run: RunInputs, model: nn.Module, fit: Fit, folder: Path) -> Manifest:
    """Return the manifest of a trained model.

    Args:
        run: The options, base model and data of the run.
        model: The whole model, trained.
        fit: The result of the training.
        folder: The folder that holds its files.
    """
    config = run.config
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    headed = model if isinstance(model, ValueClassifier) else None
    form = None
    if headed is not None and config.classifier is not None:
        form = form_of(config.classifier, headed.backbone)
    files = describe_files(folder)
    return Manifest(
        template=None if config.template is None else config.template.name,
        head=None if headed is None else Head(headed.head.kind, headed.head.pooling),
        input=form,
        labels=VALUE_NAMES,
        base_model=BaseModel(findable_name(run.base), run.base.revision, run.base.sha256),
        method=config.method.name,
        objective=objective(config),
        thresholds=fit.evaluation.thresholds,
        parameters=Parameters(
            total=sum(size for size, _ in sizes),
            trainable=sum(size for size, trained in sizes if trained),
        ),
        data=describe_data(config, run.training, run.validation),
        seed=config.seed,
        config=run.recipe,
        validation=fit.evaluation.own_scores,
        versions=versions(_LIBRARIES),
        seconds=round(fit.state.seconds, 1),
        peak_memory_bytes=fit.state.peak_memory_bytes,
        peak_device_bytes=fit.state.peak_device_bytes or None,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        files=files,
        weights_sha256=combined_hash(files),
    )


def describe_data(config: TrainConfig, training: DataSet, validation: DataSet) -> TrainingData:
    """Return what the manifest says of the data for training and for choosing epochs."""
    cv = config.protocol == "cv"
    seen: tuple[str, ...] = ()
    if "touche23" in config.data_parts:
        seen = CV_PARTS if cv else ("training", "validation")
    return TrainingData(
        name=config.data_name,
        set=training.name.replace("sample_", ""),
        size=len(training.arguments),
        sha256=training.sha256,
        folds=CV_FOLDS if cv else config.folds,
        left_out=() if config.fold is None else (config.fold,),
        validation_sha256=validation.sha256,
        validation_size=None if config.validation_size is None else len(validation.arguments),
        protocol=config.protocol,
        labels_seen=seen,
    )


def objective(config: TrainConfig) -> str:
    """Return the objective in a word: ``bce``, ``focal+contrastive``, ``contrastive, bce`` …."""
    if config.template is not None and config.template.generated:
        return "nll"
    loss = config.loss.name + ("" if config.distillation is None else "+distillation")
    if isinstance(config.contrastive, Joint):
        return f"{loss}+contrastive"
    return loss if config.contrastive is None else f"contrastive, {loss}"


def findable_name(base: Base) -> str:
    """Return the base's name, valid from any working directory."""
    folder = Path(base.name)
    return str(folder.resolve()) if folder.is_dir() else base.name


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each library, by distribution name."""
    return {name: metadata.version(name) for name in libraries}

"""A training run from the data to the adapter directory, the same for every method.

What a method trains is in a file of its own: `valueeval.train.full`, `valueeval.train.head`, ….
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.base import MINILM, MINILM_HUB_ID, Base, fetch_base
from valueeval.adapters.classifier import (
    Encoded,
    ValueClassifier,
    check_max_length,
    encode,
    load_backbone,
    load_tokenizer,
    pad_token,
    pick_device,
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
from valueeval.adapters.peft_encoder import save_peft
from valueeval.tasks.data import DataSet, load_set
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train import full, head, lora, p_tuning, prefix_tuning, prompt_tuning
from valueeval.train.checkpoint import has_checkpoint
from valueeval.train.config import TrainConfig
from valueeval.train.contrastive import ContrastiveLoss, JointLoss, WithFeatures
from valueeval.train.head import compute_features
from valueeval.train.inputs import Inputs, Tokens
from valueeval.train.loop import METRICS_FILE, Fit, Split, Training
from valueeval.train.losses import build_loss
from valueeval.train.optimizer import parameter_groups
from valueeval.train.output import is_finished, new_adapter, run_folder
from valueeval.train.precision import with_known_precision
from valueeval.train.pretraining import Pretraining
from valueeval.train.progress import note
from valueeval.train.subsets import training_subset

_LIBRARIES = (
    "lm-eval-valueeval",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "numpy",
    "safetensors",
)

# What each method does to the pretrained encoder before a head is put on it.
METHODS: dict[str, Callable[[nn.Module, TrainConfig, Base], nn.Module]] = {
    "full": full.prepare,
    "head": head.prepare,
    "lora": lora.prepare,
    "prompt-tuning": prompt_tuning.prepare,
    "p-tuning": p_tuning.prepare,
    "prefix-tuning": prefix_tuning.prepare,
}


def train(config: TrainConfig) -> Manifest:
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
        trained, splits = inputs_of(model, config, tokenizer, (training, validation))
        loss = build_loss(config, training.labels)
        if config.contrastive == "joint":
            trained, loss = with_contrast(model, loss, config)
        if config.contrastive == "pretrain":
            started -= pretrain(model, config, splits[0], folder, started)
        fit = Training(
            config=config,
            model=trained,
            groups=groups(model, config),
            loss=loss,
            training=splits[0],
            validation=splits[1],
            folder=folder,
            started=started,
        ).run()
        with new_adapter(folder, output) as adapter:
            if config.method == "full":
                model.save(adapter)
                tokenizer.save_pretrained(adapter)
            else:
                save_adapter(model, base, adapter)
            shutil.copyfile(folder / METRICS_FILE, adapter / METRICS_FILE)
            manifest = describe(config, base, training, model, fit, adapter)
            write_manifest(adapter, manifest)
    return manifest


def load_splits(config: TrainConfig) -> tuple[DataSet, DataSet]:
    """The training set (or what is to be used of it) and the validation set."""
    prefix = "sample_" if config.data == "sample" else ""
    training = load_set(f"{prefix}training", config.data_dir)
    return (
        training_subset(training, config),
        load_set(f"{prefix}validation", config.data_dir),
    )


def build_model(
    config: TrainConfig, base: Base, tokenizer: PreTrainedTokenizerBase
) -> ValueClassifier:
    """The base, prepared for the method, with a new head; what is random depends on the seed."""
    backbone = load_backbone(base.path)
    check_max_length(backbone, tokenizer, config.max_length, config.virtual_tokens or 0)
    set_seed(config.seed)
    backbone = METHODS[config.method](backbone, config, base)
    return ValueClassifier(backbone, config.head.pooling, config.dropout, config.head.kind)


def save_adapter(model: ValueClassifier, base: Base, folder: Path) -> None:
    """Writes what was trained beside a frozen encoder: the head, and PEFT's files if it has any."""
    model.save_head(folder)
    if isinstance(model.backbone, PeftModel):
        name = _findable_name(base)
        # A name that anyone's PEFT understands.
        known = MINILM_HUB_ID if name == MINILM else name
        model.backbone.peft_config["default"].base_model_name_or_path = known
        save_peft(model.backbone, folder)


def inputs_of(
    model: ValueClassifier,
    config: TrainConfig,
    tokenizer: PreTrainedTokenizerBase,
    data: Sequence[DataSet],
) -> tuple[nn.Module, list[Split]]:
    """What is run in every step, and each data set as it takes it.

    That is the model and tokens; or, if the encoder is frozen, its head and features.
    """
    tokens = [tokenize(part, tokenizer, config) for part in data]
    padding = pad_token(tokenizer)
    if config.method == "head":
        device = pick_device()
        inputs: list[Inputs] = [compute_features(model, part, padding, device) for part in tokens]
        return model.head, _with_labels(inputs, data)
    return model, _with_labels([Tokens(part, padding) for part in tokens], data)


def with_contrast(
    model: ValueClassifier, loss: nn.Module, config: TrainConfig
) -> tuple[nn.Module, nn.Module]:
    """Model and loss of a run with contrastive learning beside the classifier's loss."""
    memory = WithFeatures(model, config.contrastive_queue or 0)
    contrast = ContrastiveLoss(memory, config.contrastive_temperature or 0.0)
    return memory, JointLoss(loss, contrast, config.contrastive_weight or 0.0)


def pretrain(
    model: ValueClassifier, config: TrainConfig, training: Split, folder: Path, started: float
) -> float:
    """Brings the model to the end of the contrastive stage, from wherever that stands.

    Returns:
        Seconds of earlier parts of the run that are in no checkpoint of the stage after it.
    """
    memory = WithFeatures(model, config.contrastive_queue or 0)
    stage = Pretraining(config, memory, groups(model, config), training, folder, started)
    stage.all_steps()
    return 0.0 if has_checkpoint(folder) else stage.earlier_seconds


def _with_labels(inputs: Sequence[Inputs], data: Sequence[DataSet]) -> list[Split]:
    return [Split(part, of.labels) for part, of in zip(inputs, data, strict=True)]


def tokenize(data: DataSet, tokenizer: PreTrainedTokenizerBase, config: TrainConfig) -> Encoded:
    """The arguments of a set as tokens; says how many of them were too long."""
    encoded = encode(tokenizer, data.arguments, config.input_format)
    if encoded.truncated:
        note(
            f"{data.name}: {encoded.truncated} of {len(data.arguments)} arguments are longer than "
            f"{config.max_length} tokens and were cut"
        )
    return encoded


def groups(model: ValueClassifier, config: TrainConfig) -> list[dict[str, Any]]:
    """The trainable parameters as the optimizer takes them."""
    assert config.learning_rate is not None  # noqa: S101 (for the type checker)
    return parameter_groups(
        model,
        config.learning_rate,
        1.0 if config.layer_decay is None else config.layer_decay,
        config.weight_decay,
        config.head_learning_rate,
    )


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
        base_model=BaseModel(_findable_name(base), base.revision, base.sha256),
        method=config.method,
        objective=objective(config),
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


def objective(config: TrainConfig) -> str:
    """What was minimised, in a word: ``bce``, ``focal+contrastive``, ``contrastive, bce`` …."""
    joint, before = config.loss + "+contrastive", "contrastive, " + config.loss
    return {"none": config.loss, "joint": joint, "pretrain": before}[config.contrastive]


def _findable_name(base: Base) -> str:
    """The base's name, from whatever folder it is asked for again."""
    folder = Path(base.name)
    return str(folder.resolve()) if folder.is_dir() else base.name


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """The installed version of each library, by distribution name."""
    return {name: metadata.version(name) for name in libraries}

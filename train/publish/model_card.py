"""The model card: ``README.md`` of an adapter directory, which the Hugging Face hub shows.

It tells people who find the adapter what it is, how good it is, how to load it, and what not to use
it for. Its text is the template ``model_card.md``. It holds no path of the trainer's machine.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from valueeval.adapters.classifier.backbones import auto_class, read_config
from valueeval.adapters.classifier.peft_encoder import TASK_TYPE
from valueeval.adapters.directory.base import MINILM, MINILM_HUB_ID, Base
from valueeval.adapters.directory.hub import PEFT_CONFIG
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import CARD_FILE
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import CV, DataSet
from valueeval.tasks.data.folds import inner_fold
from valueeval.tasks.files import replacing
from valueeval.tasks.scores.intervals import Interval
from valueeval.tasks.scores.scoring import Intervals, intervals, score
from valueeval.tasks.values import VALUE_SLUGS
from valueeval.train.config.model import GENERATED
from valueeval.train.loop.evaluation import TEXT_ALONE_SCORE

# Stands for the adapter's name on the hub until it has one.
NAME = "ORG/NAME"
# Stands for the path of a teacher, in the training options.
TEACHER = "PATH/TO/TEACHER"
_TEMPLATE = Path(__file__).with_name("model_card.md")
_DATASET = "webis/Touche23-ValueEval"
_METRICS = ("macro_f1", "official_f1")
# The class of Transformers that loads a language model, by what PEFT calls its kind (task type).
_LANGUAGE_MODELS = {"CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}


def write_card(
    folder: Path,
    manifest: Manifest,
    base: Base,
    data: tuple[DataSet, DataSet],
    prediction: npt.NDArray[np.bool_],
) -> None:
    """Write the model card into an adapter directory.

    Args:
        folder: The directory, complete except for card and manifest.
        manifest: The manifest that will be written.
        base: The model that training started from.
        data: The training set and the validation set.
        prediction: The finished model's predictions for the validation set, (arguments, 20); if it
            was trained on that set, its teachers' predictions.

    Raises:
        ValueEvalError: The base model's configuration cannot be read.
    """
    validation = data[1]
    clusters = [conclusion_key(group) for group in validation.groups]
    found = intervals(validation.labels, prediction, clusters)
    if _out_of_fold(manifest):
        manifest = replace(manifest, validation=score(validation.labels, prediction))
    text = model_card(manifest, base, data, found, _class_name(folder, manifest, base))
    with replacing(folder / CARD_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def model_card(
    manifest: Manifest,
    base: Base,
    data: tuple[DataSet, DataSet],
    found: Intervals,
    class_name: str | None = None,
) -> str:
    """Return the card's text: metadata for the hub, then Markdown; `NAME` stands for the adapter.

    Args:
        manifest: The manifest of the adapter directory.
        base: The model that training started from.
        data: The training set and the validation set.
        found: Intervals of the scores on the validation set.
        class_name: The class of Transformers that loads the base model of a PEFT adapter, or a
            language model with all weights; None for anything else.
    """
    sample = manifest.data.name == "sample"
    whole = manifest.method == "prompt+full"
    card = ModelCard.from_template(
        _metadata(manifest, base, data, found, peft=class_name is not None and not whole),
        template_path=str(_TEMPLATE),
        name=NAME,
        manifest=manifest,
        base=base_label(base),
        hub_base=base_on_hub(base),
        revision=base.revision,
        sample=sample,
        training=_training(manifest, data[0]),
        teacher=_teacher(manifest),
        validation=_validation(manifest, data[1]),
        alone=not all(data[1].conclusions),
        thresholds=_thresholds(manifest),
        tuned=manifest.thresholds.tuned,
        out_of_fold=_out_of_fold(manifest),
        text=manifest.template in GENERATED,
        wording=_wording(manifest),
        unparsed=_unparsed(manifest),
        text_alone=_text_alone(manifest),
        scores=[(name, *_shown(getattr(found, name))) for name in _METRICS],
        averaged=_averaged(data[1]),
        values=_values(manifest),
        task=manifest.task,
        whole=whole,
        auto_class=class_name,
        options=_options(manifest, base),
    )
    return str(card).rstrip() + "\n"


def base_on_hub(base: Base) -> str | None:
    """Return the hub id of the base model; None for a folder of the trainer's own."""
    if base.name == MINILM:
        return MINILM_HUB_ID
    return base.name if base.revision is not None else None


def base_label(base: Base) -> str:
    """Return the name of a base model: its hub id, or the last part of its folder's path."""
    return base_on_hub(base) or Path(base.name).resolve().name


def _class_name(folder: Path, manifest: Manifest, base: Base) -> str | None:
    config = folder / PEFT_CONFIG
    if config.is_file():
        task_type = json.loads(config.read_text("utf-8"))["task_type"]
        if task_type == TASK_TYPE:
            return str(auto_class(read_config(base.path)).__name__)
        return _LANGUAGE_MODELS[task_type]
    if manifest.template is None:
        return None
    model = json.loads((folder / "config.json").read_text("utf-8"))
    return _LANGUAGE_MODELS["SEQ_2_SEQ_LM" if model.get("is_encoder_decoder") else "CAUSAL_LM"]


def _metadata(
    manifest: Manifest,
    base: Base,
    data: tuple[DataSet, DataSet],
    found: Intervals,
    peft: bool,
) -> ModelCardData:
    """Return the metadata for the hub, without a licence, which the author chooses."""
    hub_id = base_on_hub(base)
    published = all(part.official for part in data)
    # A fold holds other arguments than validation, a part fewer: their scores must not be ranked.
    whole = manifest.data.folds is None and manifest.data.validation_size is None
    found_on_validation = published and whole
    return ModelCardData(
        language="en",
        library_name=_library(manifest, peft),
        base_model=hub_id,
        base_model_relation=(
            "finetune" if manifest.method in ("full", "prompt+full") else "adapter"
        )
        if hub_id
        else None,
        pipeline_tag="text-classification" if manifest.head else None,
        datasets=[_DATASET] if published else None,
        tags=["valueeval", "human-values", "argument-mining", manifest.method],
        model_name=NAME if found_on_validation else None,
        eval_results=_results(found) if found_on_validation else None,
    )


def _library(manifest: Manifest, peft: bool) -> str:
    if peft:
        return "peft"
    # As a «transformers» model the hub would offer to load a classifier, with a random head.
    return "lm-eval-valueeval" if manifest.template is None else "transformers"


def _results(found: Intervals) -> list[EvalResult]:
    """Return the scores on the published validation set, the only ones that may be ranked."""
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Human value detection (multi-label)",
            dataset_type=_DATASET,
            dataset_name="Touché23-ValueEval (validation)",
            dataset_split="validation",
            metric_type=("f1" if name == "macro_f1" else name) + suffix,
            metric_name=name + suffix,
            metric_value=round(value, 6),
        )
        for name in _METRICS
        for suffix, value in _parts(getattr(found, name)).items()
        if value is not None
    ]


def _parts(interval: Interval) -> dict[str, float | None]:
    return {"": interval.estimate, "_ci_low": interval.ci_low, "_ci_high": interval.ci_high}


def _shown(interval: Interval) -> tuple[str, str]:
    """Return a score and its interval as text."""
    if interval.ci_low is None or interval.ci_high is None:
        return _number(interval.estimate), "unknown: too few conclusions"
    return _number(interval.estimate), f"{interval.ci_low:.3f} to {interval.ci_high:.3f}"


def _averaged(validation: DataSet) -> str:
    """Return which F1 scores macro_f1 is the mean of: those of values that occur in the data."""
    number = int(validation.labels.any(axis=0).sum())
    if number == len(VALUE_SLUGS):
        return f"the {number} F1 scores"
    return f"the F1 scores of the {number} values (of {len(VALUE_SLUGS)}) that occur there"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _values(manifest: Manifest) -> list[tuple[str, str, str]]:
    return [
        (slug, _number(manifest.validation.get(f"f1_{slug}")), f"{threshold:.3f}")
        for slug, threshold in zip(VALUE_SLUGS, manifest.thresholds.values, strict=True)
    ]


def _thresholds(manifest: Manifest) -> str:
    thresholds = manifest.thresholds
    if manifest.template in GENERATED:
        return "none: its answers are text"
    if not thresholds.tuned:
        return "0.5 for every value; nothing was tuned"
    return (
        f"{manifest.config['thresholds']}, tuned for {thresholds.metric} on {_chosen_on(manifest)}"
    )


def _out_of_fold(manifest: Manifest) -> bool:
    """Return True if the adapter was trained on all folds and scored by its teachers' answers."""
    return manifest.data.folds is not None and not manifest.data.left_out


def _chosen_on(manifest: Manifest) -> str:
    """Return the name of the data that epoch and thresholds were chosen on."""
    if _out_of_fold(manifest):
        return f"training+validation by cross-validation in {manifest.data.folds} folds"
    part = "" if manifest.data.validation_size is None else "a part of "
    if manifest.data.folds is None:
        return f"{part}validation"
    (fold,) = manifest.data.left_out
    cv = manifest.data.protocol == CV
    number, whole = (inner_fold(fold), "set cv") if cv else (fold, "training+validation")
    return f"{part}fold {number} of {manifest.data.folds} (counted from 0) of {whole}"


def _wording(manifest: Manifest) -> str:
    paraphrase = manifest.config.get("paraphrase") or 1
    chat = ", in a chat" if manifest.wording == "chat" else ""
    return chat if paraphrase == 1 else f", paraphrase {paraphrase}{chat}"


def _unparsed(manifest: Manifest) -> str | None:
    share = manifest.validation.get("unparsed")
    return None if share is None else _number(share)


def _text_alone(manifest: Manifest) -> str | None:
    """Return the share of premises alone in training, and macro_f1 there; None without any."""
    share = manifest.config.get("text_alone_share")
    if share is None:
        return None
    score = manifest.validation.get(TEXT_ALONE_SCORE)
    measured = "" if score is None else f"; `macro_f1` on premises alone {_number(score)}"
    return f"premises alone for {share:.0%} of what an epoch shows{measured}"


def _teacher(manifest: Manifest) -> str | None:
    """Return the teacher's hash, as its name may be a path on the trainer's machine."""
    if manifest.config.get("teacher") is None:
        return None
    sha256, weight = manifest.config["teacher_sha256"], manifest.config["teacher_weight"]
    return (
        f"an adapter or an average of adapters, `weights_sha256` `{sha256}`; its probabilities "
        f"count {weight:g}, labels {1 - weight:g}"
    )


def _training(manifest: Manifest, training: DataSet) -> str:
    size = f"{manifest.data.size:,} arguments"
    if manifest.data.left_out:
        where = f"fold {manifest.data.left_out[0]} of {manifest.data.folds} (counted from 0)"
        if manifest.data.protocol == CV:
            where += " and the next one, on which epoch and thresholds were chosen"
        size = f"without {where}, {size}"
    if manifest.data.name == "sample":
        return f"the package's sample set, {size}"
    if training.official:
        return f"Touché23-ValueEval, {manifest.data.set}, {size}"
    if manifest.data.name != "touche23":
        return f"`{manifest.data.name}`, {manifest.data.set}, {size} ({training.sha256})"
    return f"the trainer's own, in the format of Touché23-ValueEval, {size} ({training.sha256})"


def _validation(manifest: Manifest, validation: DataSet) -> str:
    conclusions = [text for text in validation.conclusions if text]
    texts = len(validation.arguments) - len(conclusions)
    parts = []
    if conclusions:
        different = len(set(map(conclusion_key, conclusions)))
        parts.append(f"{len(conclusions):,} arguments about {different:,} conclusions")
    if texts:
        parts.append(f"{texts:,} texts that stand alone")
    return f"{_chosen_on(manifest)}, {' and '.join(parts)}"


def _options(manifest: Manifest, base: Base) -> str:
    """Return the recipe as a file for `valueeval train --config`."""
    recipe = {name: value for name, value in manifest.config.items() if value is not None}
    if recipe.pop("teacher_sha256", None) is not None:
        recipe["teacher"] = TEACHER
    recipe["base"] = base.name if base.name == MINILM else base_label(base)
    return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100)).rstrip()

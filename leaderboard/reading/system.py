"""Read the system of a results file: its name, size, method and identity."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from valueeval.leaderboard.reading.fields import count, hashes, mapping, seed_of, string
from valueeval.leaderboard.text import clean
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.data.folds import CV_FOLDS
from valueeval.tasks.harness.model_names import ADAPTER_ARGUMENTS

# Arguments of a model, and settings of a training, that change how a result comes about but not
# what is measured: runs that differ only here are repetitions of one another. (`path` is what our
# own models add, so that lm-eval knows their name; it may hold the seed.)
_VOLATILE_ARGUMENTS = frozenset(
    {"batch_size", "max_batch_size", "device", "parallelize", "seed", "path", "calibration"}
)
_VOLATILE_SETTINGS = frozenset(
    {
        "name",
        "seed",
        "output",
        "output_dir",
        "resume",
        "data_dir",
        "device",
        "workers",
        "threads",
        "quiet",
        "cross_validation",
        "pooling",  # the manifest's head has it, also where the option was left open
    }
)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9./_~%#?=&+:@,-]*)?")

_PRIORS = ("batch", "content-free")


@dataclass(frozen=True)
class System:
    """The system that made the results.

    Attributes:
        model: Name to show.
        base: Name of the base model, if known.
        method: How the system came about: ``full``, ``lora`` …, ``zero-shot`` (or ``4-shot``;
            also ``zero-shot, chat, guided``, ``…, guided by json_schema``, ``…, first token's
            top 20``, ``…, self-consistency of 5``), ``baseline`` …; with ``raw decisions`` where an
            adapter's thresholds were not subtracted; with ``calibrated (batch)`` or
            ``calibrated (content-free)`` where a prior was subtracted from its scores, and
            ``tuned`` where labels were seen for its thresholds.
        parameters: Parameters in all; ``None`` if unknown.
        trainable: Parameters that were trained; 0 if nothing was.
        training_size: How many arguments it was trained on.
        training_data: Which set they are: ``training``, or the folds of several.
        seed: Seed of the training, of the baseline, or of the few-shot examples.
        system: Key equal for two runs that differ in nothing but their seed and their task.
        manifest: Its adapter's manifest, as far as it can be read; else empty.
        given_name: Name that its maker gave it, to show instead of one made up from its settings.
        link: Address that its maker gave to read more.
    """

    model: str
    base: str | None
    method: str
    parameters: int | None
    trainable: int | None
    training_size: int | None
    training_data: str | None
    seed: int | None
    system: str
    manifest: Mapping[str, Any]
    given_name: str | None
    link: str | None

    @property
    def prompted(self) -> bool:
        """Return True for a language model that was not trained for the task."""
        return "-shot" in self.method.partition(",")[0]

    @property
    def members(self) -> int | None:
        """Return the number of adapters whose answers are averaged; ``None`` for a single one."""
        members = mapping(self.manifest.get("config")).get("members")
        return len(members) if isinstance(members, list) else None

    @property
    def predicts_every_value(self) -> bool:
        """Return True for the baseline of that name."""
        return self.method == "baseline" and self.model == "baseline every value"


def describe_system(
    content: Mapping[str, Any],
    config: Mapping[str, Any],
    shots: int,
    beside: Mapping[str, Any] | None = None,
    votes: int = 1,
    metadata: Mapping[str, Any] | None = None,
) -> System:
    """Describe the system of a results file.

    Args:
        content: The file.
        config: Its ``config``.
        shots: Few-shot examples in the prompt.
        beside: Manifest of its adapter, for results that do not hold it themselves.
        votes: Number of sampled chains of thought that vote on each argument.
        metadata: The task's; with its wording (``plain`` or ``chat``; not in older results), and
            what ``--metadata`` adds: ``name`` and ``link``.
    """
    told = metadata or {}
    arguments = _model_arguments(config.get("model_args"))
    kind = string(config.get("model")) or string(content.get("model_source")) or "unknown"
    name = string(content.get("model_name")) or arguments.get("pretrained") or kind
    adapter = adapter_of(config)
    manifest = mapping(config.get("valueeval")) or mapping(beside)
    name = arguments.get("lora_local_path") or name  # lm-eval names the base of vLLM's adapters
    baseline = kind == "valueeval_baseline"
    base = string(mapping(manifest.get("base_model")).get("name")) or arguments.get("pretrained")
    sizes, data = mapping(manifest.get("parameters")), mapping(manifest.get("data"))
    if manifest:
        method, seed = string(manifest.get("method")) or "unknown", seed_of(manifest.get("seed"))
        trainable = count(sizes.get("trainable"))
        method += ", raw decisions" * _is_raw(config, manifest)
    elif baseline:
        method, seed, trainable = "baseline", seed_of(arguments.get("seed")), 0
        name = f"baseline {arguments.get('strategy', '')}".strip().replace("_", " ")
    elif adapter:
        method, seed, trainable = "adapter", None, None
    else:
        wording = told.get("wording")
        in_chat = content.get("chat_template_sha") or kind == "valueeval_chat"
        field = string(config.get("guided"))  # that carries the form to a server
        top = count(config.get("top_logprobs"))
        forms = (
            ("chat wording" if not in_chat else "chat", in_chat or wording == "chat"),
            ("plain wording", in_chat and wording == "plain"),
            (f"guided by {field}" if field else "guided", field or config.get("guided") is True),
            (f"first token's top {top}", top),
            (f"self-consistency of {votes}", votes > 1),
        )
        named = [name for name, used in forms if used]
        method, trainable = ", ".join([f"{shots or 'zero'}-shot", *named]), 0
        seed = seed_of(config.get("fewshot_seed")) if shots else None
    calibration = mapping(config.get("calibration"))
    if calibration:
        prior = mapping(calibration.get("prior")).get("source")
        tuned = mapping(calibration.get("fitted_on")).get("labels_used") is not False
        if prior in _PRIORS:
            method += f", calibrated ({prior})"
        elif not tuned:
            method += ", calibrated"
        method += ", tuned" * tuned
    return System(
        model=clean(_last_part(name) if adapter else _short_name(name)),
        base=clean(_short_name(base)) if base else None,
        method=clean(method),
        parameters=count(sizes.get("total")) or count(config.get("model_num_parameters")) or None,
        trainable=trainable,
        training_size=count(data.get("size")),
        training_data=_training_data(data),
        seed=seed,
        system=_system_key(content, config, arguments, manifest, shots, votes),
        manifest=manifest,
        given_name=string(told.get("name")) or string(mapping(manifest.get("config")).get("name")),
        link=link(told.get("link")),
    )


def adapter_of(config: Mapping[str, Any]) -> str | None:
    """Return the path of the adapter that a results file's ``config`` names, if there is one."""
    arguments = _model_arguments(config.get("model_args"))
    keys = ("adapter", *ADAPTER_ARGUMENTS)
    return next((arguments[key] for key in keys if arguments.get(key)), None)


def link(value: object) -> str | None:
    """Return an address of the web; ``None`` for anything else."""
    address = string(value)
    return address if address is not None and _ADDRESS.fullmatch(address) else None


def _system_key(
    content: Mapping[str, Any],
    config: Mapping[str, Any],
    arguments: Mapping[str, str],
    manifest: Mapping[str, Any],
    shots: int,
    votes: int,
) -> str:
    """Return what identifies a system apart from its seed, as canonical JSON."""
    if manifest:
        settings = {
            key: value
            for key, value in mapping(manifest.get("config")).items()
            # What is left open is as if the option had not been there yet.
            if key not in _VOLATILE_SETTINGS and value is not None
        }
        same = {key: manifest.get(key) for key in ("template", "head", "method", "objective")}
        base = mapping(manifest.get("base_model"))
        data = mapping(manifest.get("data"))
        identity: dict[str, Any] = {
            **same, "base": base.get("sha256") or base.get("name"),
            "data": data.get("sha256"), "size": data.get("size"), "settings": settings,
        }  # fmt: skip
        if _is_raw(config, manifest):
            identity["model"] = config.get("model")
        if config.get("guided"):
            identity["guided"] = config["guided"]
    else:
        kept = {key: arguments[key] for key in arguments if key not in _VOLATILE_ARGUMENTS}
        identity = {"model": config.get("model"), "arguments": kept,
                    "revision": config.get("model_sha")}  # fmt: skip
    identity["prompting"] = [
        shots,
        content.get("chat_template_sha"),
        content.get("system_instruction_sha"),
        content.get("fewshot_as_multiturn") if shots else None,
        config.get("gen_kwargs"),
        *([votes] if votes > 1 else []),
    ]
    if calibration := mapping(config.get("calibration")):
        # By its content: its file may lie anywhere, and each seed has its own.
        fitted_on = mapping(calibration.get("fitted_on"))
        seen = [fitted_on.get("set"), fitted_on.get("data_sha256"), fitted_on.get("arguments")]
        identity["calibration"] = [calibration.get("method"), *seen]
    return json.dumps(identity, sort_keys=True, default=str)


def _is_raw(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Return whether an adapter was asked by a model that does not subtract its thresholds.

    Only our own models do, and note the manifest in the results' ``config``.
    """
    values = mapping(manifest.get("thresholds")).get("values")
    tuned = isinstance(values, list) and any(value != 0.5 for value in values)
    return tuned and not config.get("valueeval")


def _model_arguments(arguments: object) -> dict[str, str]:
    """Return ``--model_args`` as a mapping, from either form in which lm-eval stores it."""
    if isinstance(arguments, dict):
        return {str(key): str(value) for key, value in arguments.items()}
    if not isinstance(arguments, str):
        return {}
    pairs = (part.partition("=") for part in arguments.split(","))
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()}


def _short_name(name: str) -> str:
    """Return ``org/model`` as it is, and the last part of a longer path."""
    parts = re.split(r"[/\\]", name)
    is_hub_id = len(parts) == 2 and all(part.strip(".~") for part in parts)
    return name if is_hub_id else _last_part(name)


def _last_part(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]", path) if part.strip(".~")]
    return parts[-1] if parts else path


def warnings_of(manifest: Mapping[str, Any], dataset: str, seen: bool) -> tuple[str, ...]:
    """Return what the manifest says that makes a result look better than it is.

    Args:
        manifest: The system's; empty without one.
        dataset: Name of the set that the result is about.
        seen: True if the system has seen the set's labels (`has_seen`).
    """
    split = string(mapping(manifest.get("thresholds")).get("split"))
    data = mapping(manifest.get("data"))
    tuned_on = f"sample_{split}" if data.get("name") == "sample" else split
    found = []
    if split is not None and tuned_on == dataset:
        found.append(f"epoch and thresholds chosen on this very set ({clean(split)})")
    elif split is not None and not split.endswith(("validation", "training", "fold", "none")):
        found.append(f"thresholds tuned on {clean(split)}, not on validation")
    if seen:
        found.append("trained on the very data that it is tested on")
    return tuple(found)


def warnings_of_calibration(calibration: Mapping[str, Any], tested_on: str) -> tuple[str, ...]:
    """Return what a calibration says that makes a result look better than it is.

    Args:
        calibration: What ``valueeval calibrate`` wrote; empty without one.
        tested_on: Hash of the data that the result is about.
    """
    fitted_on = mapping(calibration.get("fitted_on"))
    seen = (hashes(fitted_on.get("data_sha256")) or "").split("+")
    if calibration and fitted_on.get("labels_used") is not False and tested_on in seen:
        return ("thresholds tuned on the labels of this very set",)
    return ()


def warnings_of_requests(failed: object, task: str) -> tuple[str, ...]:
    """Return what requests that a server did not answer say against a result.

    Args:
        failed: The failed requests of all tasks of a run, which ``--model valueeval_chat`` lists.
        task: The task that the result is of.
    """
    listed = failed if isinstance(failed, list) else []
    number = sum(mapping(each).get("task") == task for each in listed)
    told = f"requests that its server did not answer: {number} (counted as unparsed)"
    return (told,) if number else ()


def has_seen(manifest: Mapping[str, Any], dataset: str, sha256: str, fold: int | None) -> bool:
    """Return whether a system has seen labels of the arguments that it is tested on.

    By the protocol ``cv`` it may answer the folds of set ``cv`` that it, or one of its members, has
    left out; it has seen labels of all sets in ``labels_seen``. Else the hashes of the data decide.

    Args:
        manifest: The system's; empty without one.
        dataset: Name of the set.
        sha256: Hash of its files; those of several are joined by ``+``.
        fold: The fold that it was tested on, if that was one alone.
    """
    data = mapping(manifest.get("data"))
    trained_on = (hashes(data.get("sha256")) or "").split("+")
    overlaps = not set(sha256.split("+")).isdisjoint(trained_on)
    if data.get("protocol") != CV:
        return overlaps
    if dataset == CV and hashes(data.get("sha256")) == sha256:
        asked = range(CV_FOLDS) if fold is None else [fold]
        left_out = data.get("left_out")
        own = left_out if isinstance(left_out, list) else []
        return not all(number in own for number in asked)
    labels_seen = data.get("labels_seen")
    return overlaps or dataset in (labels_seen if isinstance(labels_seen, list) else [])


def _training_data(data: Mapping[str, Any]) -> str | None:
    """Name a manifest's training data, e.g. ``5 folds of training+validation``."""
    name, folds, given = string(data.get("set")), count(data.get("folds")), data.get("left_out")
    numbers = map(count, given if isinstance(given, list) else [])
    left = sorted({number for number in numbers if number is not None})
    if name is None or not folds or not left:
        return name
    if len(left) == folds:
        return f"{folds} folds of {name}"
    each = ", each" if len(left) > 1 else ""
    return f"{name}{each} without fold {' or '.join(map(str, left))} of {folds}"

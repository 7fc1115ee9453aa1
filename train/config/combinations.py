"""Which values and which combinations of options make sense, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from math import inf
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import hub_id
from valueeval.adapters.directory.input_format import Head, check_head_and_input
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.choices import BY_CHOICE, GENERATED, INITS, KINDS, OF_A_HEAD

if TYPE_CHECKING:
    from valueeval.train.config.config import TrainConfig

# Why some options have no meaning with some methods.
_WHY = {
    ("init", "p-tuning"): ", whose virtual tokens are made by a network",
}

# Numbers that options can have, and how that is said.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (("tokens_at_once",), lambda x: x >= 1, "1 or more"),
    (
        ("epochs", "batch_size", "lora_rank", "lora_alpha"),
        lambda x: x >= 1,
        "1 or more",
    ),
    (
        ("paraphrase", "train_size", "per_value", "virtual_tokens", "prompt_hidden_size"),
        lambda x: x >= 1,
        "1 or more",
    ),
    (("contrastive_epochs", "contrastive_queue"), lambda x: x >= 1, "1 or more"),
    (("learning_rate", "head_learning_rate", "max_grad_norm"), lambda x: 0 < x < inf, "above 0"),
    (("contrastive_weight", "contrastive_temperature"), lambda x: 0 < x < inf, "above 0"),
    (("checkpoint_seconds", "fold"), lambda x: x >= 0, "0 or more"),
    (("folds",), lambda x: x >= 2, "2 or more"),
    (("weight_decay", "focal_gamma"), lambda x: 0 <= x < inf, "0 or more"),
    (("dropout", "warmup", "lora_dropout"), lambda x: 0 <= x < 1, "from 0 to below 1"),
    (("layer_decay", "teacher_weight"), lambda x: 0 < x <= 1, "above 0, at most 1"),
    (("positive_weight",), lambda x: 0 <= x <= 1, "0 to 1"),
    (("values_per_step",), lambda x: 1 <= x <= len(VALUE_NAMES), "1 to 20"),
)


class ConfigError(ValueEvalError):
    """An option with a value that it cannot have; the message names both, and what is allowed."""


def check(config: TrainConfig) -> None:
    """Refuses values that an option cannot have, and options that do not go together.

    Raises:
        ConfigError: with the option, its value, the reason and the nearest that does.
    """
    _check_values(config)
    _refuse_options_without_meaning(config)
    _check_template(config)
    _check_data(config)
    _check_teacher(config)
    _check_init(config)
    _check_contrastive(config)
    _check_heads(config)
    _check_memory(config)
    _check_segments(config)


def _check_values(config: TrainConfig) -> None:
    for names, fine, allowed in _RANGES:
        for name in names:
            if (value := getattr(config, name)) is not None:
                _check(name, value, fine(value), allowed)
    _check("seed", config.seed, 0 <= config.seed < 2**32, "0 to 4294967295")
    named = Path(config.output.strip()).name not in ("", "..")
    _check("output", config.output, named, "the name of a directory that is not there yet")
    _check("base", config.base, bool(config.base.strip()), "minilm, a folder or a hub id")
    if config.push_to_hub is not None:
        named_there = (found := hub_id(config.push_to_hub)) is not None and not found.revision
        _check("push_to_hub", config.push_to_hub, named_there, "a name on the hub as org/name")
    elif config.hub_private:
        raise ConfigError("hub_private: true has no meaning without --push_to_hub org/name")


def _check_data(config: TrainConfig) -> None:
    if config.data == "sample" and config.data_dir is not None:
        raise ConfigError(
            f"data_dir: {config.data_dir!r} has no meaning with --data sample, which ships with "
            "the package: leave one of them out"
        )
    if config.train_size is not None and config.per_value is not None:
        raise ConfigError("train_size and per_value: choose one of them")
    _check_fold(config)


def _check_init(config: TrainConfig) -> None:
    if config.init is not None:
        _check("init", config.init, bool(config.init.strip()), f"{', '.join(INITS)} or a text")
        _check_init_is_no_slip(config.init)
    made = config.method == "prefix-tuning" and config.prompt_hidden_size is not None
    if made and config.init not in (None, "random"):
        raise ConfigError(
            f"init: {config.init!r} has no meaning with --prompt_hidden_size, by whose network the "
            "prefix is made: leave one of them out"
        )


def _check_init_is_no_slip(init: str) -> None:
    """Refuses what looks like a keyword: it would be taken for a text, and nobody would see."""
    if init in INITS or len(init.split()) > 1 or init != init.strip():
        return
    word = init.casefold()
    begun = [known for known in INITS if len(word) > 2 and known.startswith(word)]
    meant = begun or get_close_matches(word, INITS, n=1, cutoff=0.75)
    if meant:
        raise ConfigError(
            f"init: {init!r} would be a text to start from; take {meant[0]!r} if you mean that, "
            f"or {init + ' '!r}, with a blank, for the word itself"
        )


def _check_contrastive(config: TrainConfig) -> None:
    # The number that it has where it is left open says nothing.
    if config.contrastive_positives == "views" and config.contrastive_queue not in (None, 1024):
        raise ConfigError(
            f"contrastive_queue: {config.contrastive_queue} has no meaning with "
            "--contrastive_positives views, which are compared within a batch: leave it out, "
            "or take --contrastive_positives labels"
        )
    if config.contrastive != "none" and config.method == "head":
        raise ConfigError(
            f"contrastive: {config.contrastive!r} has no meaning with --method head, whose "
            "features do not change: leave it out, or take --method full or lora"
        )


def _check_heads(config: TrainConfig) -> None:
    if config.heads == "multiple" and config.pooling not in (None, "attention"):
        raise ConfigError(
            f"pooling: {config.pooling!r} has no meaning with --heads multiple, where each value "
            "has an attention of its own: leave it out, or take --heads single"
        )
    _check_cross_encoder(config)


def _check_segments(config: TrainConfig) -> None:
    try:
        check_head_and_input(Head(KINDS[config.heads], "attention"), config.input_format)
    except ManifestError as error:
        raise ConfigError(str(error).removeprefix("input.")) from None
    segments = config.segments
    if segments is None:
        return
    if not all(text.strip() for text in segments):
        raise ConfigError(f"segments: {list(segments)}; allowed: texts that are not empty")
    if not any(name for text in segments for _, name, _, _ in Formatter().parse(text)):
        raise ConfigError(
            f"segments: {list(segments)}; allowed: texts with fields in them, such as "
            "{premise} and {conclusion}"
        )
    if config.separator is not None and len(segments) == 1:
        raise ConfigError(
            f"separator: {config.separator!r} has no meaning with one segment: leave it out, or "
            "give two --segments"
        )


def _check_fold(config: TrainConfig) -> None:
    if config.folds is None and config.fold is not None:
        raise ConfigError(f"fold: {config.fold} has no meaning without --folds: of how many?")
    if config.folds is None or config.out_of_fold:
        return
    if config.fold is None or config.fold >= config.folds:
        raise ConfigError(
            f"fold: {config.fold}; allowed with --folds {config.folds}: 0 to {config.folds - 1} "
            "(the fold that is left out), or none with the adapters of all folds as --teacher"
        )


def _check_teacher(config: TrainConfig) -> None:
    if config.out_of_fold and config.template is not None:
        raise ConfigError(
            f"fold: none is left out, and with --template {config.template} nothing could be "
            f"tuned: its answers are no logits of the teachers; take --fold 0 to "
            f"{(config.folds or 0) - 1}"
        )
    for name in ("train_size", "per_value"):
        if config.out_of_fold and getattr(config, name) is not None:
            raise ConfigError(
                f"{name}: {getattr(config, name)} does not go with a --teacher of all folds, "
                "which has seen the others: leave it out, or name a --fold"
            )
    if config.teacher is None and config.teacher_weight is not None:
        raise ConfigError(
            f"teacher_weight: {config.teacher_weight} has no meaning without --teacher: leave it "
            "out, or name a teacher"
        )
    if config.teacher is not None and config.template in GENERATED:
        raise ConfigError(
            f"teacher: has no meaning with --template {config.template}, whose answers are text: "
            "leave it out, or take --template bca or cls"
        )
    if config.teacher is not None and config.loss != "bce":
        raise ConfigError(
            f"teacher: has no meaning with --loss {config.loss}, beside which its weight would "
            "not say how much it counts: leave it out, or take --loss bce"
        )


def _check_cross_encoder(config: TrainConfig) -> None:
    if config.heads != "cross-encoder":
        return
    if config.contrastive != "none":
        raise ConfigError(
            f"contrastive: {config.contrastive!r} has no meaning with --heads cross-encoder, "
            "which has features of argument and value together, none of an argument: leave it "
            "out, or take --heads single"
        )
    if config.method == "head" and config.pooling == "attention":
        raise ConfigError(
            "pooling: 'attention' with --heads cross-encoder and --method head would keep all "
            "hidden states of 20 inputs an argument in memory: take mean, or --method lora"
        )
    if config.method == "head" and config.values_per_step is not None:
        raise ConfigError(
            f"values_per_step: {config.values_per_step} saves nothing with --method head, whose "
            "features are computed once: leave it out"
        )


def _check_memory(config: TrainConfig) -> None:
    if config.compile and config.template is not None:
        raise ConfigError(
            f"compile: does not go with --template {config.template}, whose prompts are put "
            "together anew for every step: it would compile without end; leave it out"
        )
    if not config.gradient_checkpointing:
        return
    choice = f"--method {config.method}"
    if config.method == "head":
        reason = "keeps nothing of the layers"
    elif config.method == "prefix-tuning":
        reason = "puts its keys and values where it forgets them"
    elif config.template is not None:
        choice = f"--template {config.template}"
        reason = "reads once what prompts share and keeps it"
    else:
        return
    raise ConfigError(
        f"gradient_checkpointing: does not go with {choice}, which {reason}: leave it out "
        "(a lower --tokens_at_once saves memory, too)"
    )


def _refuse_options_without_meaning(config: TrainConfig) -> None:
    # An option that no row of a table names for the choice made has no meaning there.
    for choice, rows in BY_CHOICE.items():
        made = getattr(config, choice)
        for name in sorted({name for row in rows.values() for name in row} - rows[made].keys()):
            if (value := getattr(config, name)) is not None:
                instead = " or ".join(other for other in rows if name in rows[other])
                raise ConfigError(
                    f"{name}: {value!r} has no meaning with --{choice} {made}"
                    f"{_WHY.get((name, made), '')}: leave it out, or take --{choice} {instead}"
                )


def _check_template(config: TrainConfig) -> None:
    """A template and what belongs to a head exclude one another."""
    if config.template is None:
        if config.method == "prompt+full":
            raise ConfigError(
                "method: 'prompt+full' needs a --template (cls, mbc, bca, oa or cot); "
                "a classifier head with all weights trained is --method full"
            )
        if config.paraphrase is not None:
            raise ConfigError(
                "paraphrase: has no meaning without a --template: leave it out, or name one"
            )
        return
    if config.method in ("full", "head"):
        instead = "prompt+full" if config.method == "full" else "prompt-tuning or lora"
        raise ConfigError(
            f"method: {config.method!r} trains a classifier head, which a --template has not: "
            f"take --method {instead}"
        )
    for field in fields(config):
        if field.name in OF_A_HEAD and getattr(config, field.name) != field.default:
            raise ConfigError(
                f"{field.name}: {getattr(config, field.name)!r} has no meaning with --template "
                f"{config.template}, which has no head: leave it out, or train without --template"
            )
    if config.template in GENERATED:
        _check_answers_of_text(config)


def _check_answers_of_text(config: TrainConfig) -> None:
    for name, default, instead in (
        ("loss", "bce", "bca or cls"),
        ("thresholds", "halfway", "bca or cls"),
        # Answers of oa are about one value each.
        ("positive_weight", 0.5, "oa, bca or cls"),
    ):
        value = getattr(config, name)
        if name == "positive_weight" and config.template == "oa":
            continue
        if value not in (None, default):
            raise ConfigError(
                f"{name}: {value!r} has no meaning with --template {config.template}, whose "
                f"answers are text: leave it out, or take --template {instead}"
            )


def _check(name: str, value: object, fine: bool, allowed: str) -> None:
    if not fine:
        raise ConfigError(f"{name}: {value!r}; allowed: {allowed}")

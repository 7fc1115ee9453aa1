"""The options of a training, by name, and the configuration that some of them ask for.

They are those of the configuration's parts and of every choice (`valueeval.train.methods.METHODS`
…); an option of one choice is refused with another. How a command line gives them is in
`valueeval.train.command_line`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields
from functools import cache
from typing import Any, Literal, get_type_hints

from valueeval.tasks.templates.decide import TEMPLATES
from valueeval.train.config.choice import Choice, ConfigError, flag_of, refuse_unknown
from valueeval.train.config.config import DEFAULT_CHOICES, TrainConfig
from valueeval.train.config.heads import HEADS
from valueeval.train.config.model import ClassifierOptions, Template
from valueeval.train.config.optimisation import Distillation, Optimisation
from valueeval.train.methods import METHODS
from valueeval.train.objectives import CONTRASTIVE, LOSSES

NONE = "none"
"""``--contrastive none``: there is no contrastive stage."""

CHOICES: dict[str, Mapping[str, type[Choice]]] = {
    "method": METHODS,
    "heads": HEADS,
    "loss": LOSSES,
    "contrastive": CONTRASTIVE,
}
"""The option that chooses → the choices by name."""

GROUPS = ("model", "data", "method", "head", "objective", "optimisation", "run")
# Why some options have no meaning with some choices.
_WHY = {("init", "p-tuning"): ", whose virtual tokens are made by a network"}


@dataclass(frozen=True)
class Option:
    """An option as the command line shows it.

    Attributes:
        type: The type that its text is read as.
        default: Its value where it is not given; ``...`` where that depends on other options.
        help: For ``--help_all``.
        group: The heading that it stands under.
        basic: True if the short help shows it.
    """

    type: Any
    default: Any
    help: str
    group: str
    basic: bool


@cache
def all_options() -> dict[str, Option]:
    """Return every option by its name."""
    found: dict[str, Option] = dict(_selectors())
    parts: list[tuple[type[Any], str]] = [
        (part, "")
        for part in (TrainConfig, Template, ClassifierOptions, Distillation, Optimisation)
    ]
    groups = {"method": "method", "heads": "head", "loss": "objective", "contrastive": "objective"}
    for choice, kinds in CHOICES.items():
        parts += [(kind, groups[choice]) for kind in kinds.values()]
    for part, group in parts:
        hints = get_type_hints(part)
        for item in fields(part):
            if item.metadata:
                found.setdefault(flag_of(item), _option(item, hints[item.name], group))
    return {name: found[name] for group in GROUPS for name in found if found[name].group == group}


def configure(output: str, **given: Any) -> TrainConfig:
    """Return the configuration that some options ask for, the others at their defaults.

    Args:
        output: The adapter directory to write.
        given: Options by name; one that is None is left open.

    Raises:
        ConfigError: An option that does not exist, a value that it cannot have, or options that do
            not go together.
    """
    values = {name: value for name, value in given.items() if value is not None}
    for name in values:
        if name not in all_options():
            raise ConfigError(f"no option {name}{near(name, '')}")
    chosen = {choice: str(values.pop(choice, name)) for choice, name in DEFAULT_CHOICES.items()}
    for choice, name in chosen.items():
        if (choice, name) != ("contrastive", NONE):
            refuse_unknown(choice, name, CHOICES[choice])
    template = values.pop("template", None)
    if template is not None:
        refuse_unknown("template", str(template), dict.fromkeys(TEMPLATES))
        _refuse_options_of_a_head(template, chosen, values)
    _refuse_options_of_others(chosen, values)
    made = {
        choice: CHOICES[choice][name](**_take(values, CHOICES[choice][name]))
        for choice, name in chosen.items()
        if name != NONE
    }
    method: Any = made["method"]
    rates = _take(values, Optimisation)
    _refuse_rates(method, rates)
    parts: dict[str, Any] = {
        "method": method,
        "loss": made["loss"],
        "optimisation": Optimisation.of(method, **rates),
        "distillation": _distillation(values),
    }
    if template is None:
        heads: Any = made["heads"]
        stage: Any = made.get("contrastive")
        own = {
            "segments": heads.segments,
            "pooling": heads.pooling,
            **_take(values, ClassifierOptions),
        }
        parts["classifier"] = ClassifierOptions(heads, contrastive=stage, **own)
        for name in ("paraphrase", "chat_template"):
            if name in values:
                raise ConfigError(
                    f"{name}: has no meaning without a --template: leave it out, or name one"
                )
    else:
        parts["template"] = Template(str(template), **_take(values, Template))
    return TrainConfig(output=output, **parts, **values)


def changed(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Return the configuration with other options, those left open at their new defaults."""
    return configure(**{**config.non_defaults(), **changes})


def _selectors() -> Iterator[tuple[str, Option]]:
    """Yield the options that choose; their help is made of what the choices say of themselves."""

    def summaries(kinds: Mapping[str, type[Choice]]) -> str:
        return " ".join(f"{name}: {kind.summary}." for name, kind in kinds.items())

    def of(kinds: Mapping[str, Any], *more: str) -> Any:
        return Literal[(*more, *kinds)]

    yield (
        "method",
        Option(
            of(METHODS),
            "full",
            "What is trained, beside a new head on top. "
            f"{summaries(METHODS)} Source: as named; full as default: our choice.",
            "method",
            basic=True,
        ),
    )
    yield (
        "template",
        Option(
            Literal[tuple(TEMPLATES)] | None,
            None,
            "Train a language model (causal or encoder-decoder) that has no head and answers in "
            "words what valueeval_cls (names of values), bca (yes or no to each), mbc (a list of "
            "yes and no), oa (words for a person) or cot (a final list) asks. null is a classifier "
            "head. Source: Schick and Schütze, 2021, for answers in words; the tasks' prompts.",
            "model",
            basic=True,
        ),
    )
    yield (
        "heads",
        Option(
            of(HEADS), "single", f"Kind of classifier head. {summaries(HEADS)} Source: as named.",
            "head", basic=True,
        ),
    )  # fmt: skip
    yield (
        "loss",
        Option(
            of(LOSSES),
            "bce",
            "Loss of a head's logits, or of those that the log-likelihoods of templates bca and "
            f"cls give. {summaries(LOSSES)} Source: as named; bce as default: our choice.",
            "objective",
            basic=True,
        ),
    )
    yield (
        "contrastive",
        Option(
            of(CONTRASTIVE, NONE),
            NONE,
            "A loss that draws arguments with values in common together. none: there is none. "
            f"{summaries(CONTRASTIVE)} Source: Khosla et al., 2020; for several labels Lin et al., "
            "2023 (formulas: train/objectives/contrastive.py).",
            "objective",
            basic=True,
        ),
    )


def _option(item: Field[Any], type_: Any, group: str) -> Option:
    """Return a field as an option; ``@epochs`` in its help is what each method has by default."""
    default = ... if group else item.default
    if "@" in (text := item.metadata["help"]):
        text = re.sub(r"@(\w+)", lambda match: _by_method(match[1]), text)
    if not isinstance(default, (int, float, str, bool, tuple, type(None))):
        default = ...
    if group and text == item.metadata["help"] and "Default: " not in text:
        default = item.default  # all choices that have it have the same
    return Option(
        type_, default, text, str(item.metadata["group"] or group), bool(item.metadata["basic"])
    )


def _by_method(name: str) -> str:
    """Say what an option is by default, by method: ``5 for full, 50 for head``."""
    values: dict[Any, list[str]] = {}
    for method, kind in METHODS.items():
        if (value := getattr(kind, name)) is not None:
            values.setdefault(value, []).append(method)
    return ", ".join(f"{value:g} for {' and '.join(names)}" for value, names in values.items())


def _take(values: dict[str, Any], part: type[Any]) -> dict[str, Any]:
    """Remove a part's options from the values; return them by the names of its fields."""
    names = {flag_of(item): item.name for item in fields(part) if item.metadata}
    return {field: values.pop(flag) for flag, field in names.items() if flag in values}


def _distillation(values: dict[str, Any]) -> Distillation | None:
    own = _take(values, Distillation)
    if own and "teacher" not in own:
        raise ConfigError(
            f"teacher_weight: {own['weight']} has no meaning without --teacher: leave it out, or "
            "name a teacher"
        )
    return Distillation(**own) if own else None


def _refuse_options_of_others(chosen: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Refuse options that only other choices than those made have."""
    for choice, name in chosen.items():
        kinds = CHOICES[choice]
        flags = {kind: {flag_of(item) for item in fields(kinds[kind])} for kind in kinds}
        others = set().union(*flags.values()) - flags.get(name, set())
        for flag in sorted(others & values.keys()):
            _check_range(kinds, flag, values[flag])
            instead = " or ".join(kind for kind in kinds if flag in flags[kind])
            raise ConfigError(
                f"{flag}: {values[flag]!r} has no meaning with --{choice} {name}"
                f"{_WHY.get((flag, name), '')}: leave it out, or take --{choice} {instead}"
            )


def _check_range(kinds: Mapping[str, type[Choice]], flag: str, value: Any) -> None:
    """Refuse a value that no choice allows: that is said before anything else about it."""
    item = next(f for kind in kinds.values() for f in fields(kind) if flag_of(f) == flag)
    within = item.metadata["within"]
    if within is not None and not within.holds(value):
        raise ConfigError(f"{flag}: {value!r}; allowed: {within.allowed}")


def _refuse_rates(method: Any, rates: Mapping[str, Any]) -> None:
    """Refuse rates for parts of the model that the method has not."""
    for name, has in (
        ("layer_decay", lambda kind: kind.layer_decay is not None),
        ("head_learning_rate", lambda kind: kind.own_head_rate),
    ):
        if name in rates and not has(method):
            instead = " or ".join(known for known, kind in METHODS.items() if has(kind))
            raise ConfigError(
                f"{name}: {rates[name]!r} has no meaning with --method {method.name}: leave it "
                f"out, or take --method {instead}"
            )


def _refuse_options_of_a_head(
    template: str, chosen: dict[str, str], values: dict[str, Any]
) -> None:
    """Refuse what only a head has, unless it says what is so by default anyway."""
    plain = {flag_of(item): item.default for item in fields(ClassifierOptions) if item.metadata}
    plain |= {"head_learning_rate": None, "values_per_step": None}
    plain |= {"segments": HEADS["single"].segments}
    given = {name: values[name] for name in plain if name in values}
    given |= {name: chosen[name] for name in ("heads", "contrastive")}
    plain |= {"heads": "single", "contrastive": NONE}
    for name, value in given.items():
        if value != plain[name]:
            raise ConfigError(
                f"{name}: {value!r} has no meaning with --template {template}, which has no head: "
                "leave it out, or train without --template"
            )
        values.pop(name, None)


def near(name: str, dashes: str) -> str:
    """Return a hint at the options that a misspelt name may mean.

    Args:
        name: The name that is no option.
        dashes: The prefix of options where it was given: ``--`` or nothing.
    """
    near = difflib.get_close_matches(name, all_options(), n=2)
    if not near:
        return "; see --help_all"
    return f"; did you mean {dashes}{f' or {dashes}'.join(near)}?"

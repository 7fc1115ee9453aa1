"""Base classes of the choices of a training: methods, losses, heads, contrastive stages.

Each choice is a frozen dataclass in a file of its own (`valueeval.train.methods.lora.Lora`): its
fields are its options, with their defaults, checks and help. `valueeval.train.options` makes the
command line of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from valueeval.adapters.directory.base import Base


class ConfigError(ValueEvalError):
    """An option with a value that it cannot have; the message names both, and what is allowed."""


@dataclass(frozen=True)
class Range:
    """The numbers that an option can be.

    Attributes:
        allowed: The range in words.
        low: The lowest number.
        high: The highest number.
        without_low: True if `low` itself is not allowed.
        without_high: True if `high` itself is not allowed.
    """

    allowed: str
    low: float
    high: float = inf
    without_low: bool = False
    without_high: bool = False

    def holds(self, number: float) -> bool:
        """Return True for a number in the range."""
        if not self.low <= number <= self.high:  # NaN is in no range
            return False
        on_low, on_high = number == self.low, number == self.high
        return not ((on_low and self.without_low) or (on_high and self.without_high))


ONE_OR_MORE = Range("1 or more", 1)
ZERO_OR_MORE = Range("0 or more", 0, without_high=True)
ABOVE_ZERO = Range("above 0", 0, without_low=True, without_high=True)
SHARE = Range("from 0 to below 1", 0, 1, without_high=True)
FACTOR = Range("above 0, at most 1", 0, 1, without_low=True)


def option(
    default: Any,
    help: str,
    *,
    within: Range | None = None,
    flag: str = "",
    group: str = "",
    basic: bool = False,
) -> Any:
    """Return a dataclass field that is an option of ``valueeval train``.

    Args:
        default: Its value where it is not given; ``...`` for one that must be.
        help: Its effect, and the source of its default.
        within: The numbers that it can be.
        flag: Its name on the command line, if that is not the field's.
        group: The heading that it stands under in ``--help``; a choice's own options stand under
            the choice's.
        basic: Show it in the short ``--help``.
    """
    metadata = {"help": help, "within": within, "flag": flag, "group": group, "basic": basic}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def flag_of(item: Field[Any]) -> str:
    """Return an option's name on the command line."""
    return str(item.metadata["flag"] or item.name)


def check_ranges(options: Any) -> None:
    """Refuse numbers that an option cannot be.

    Args:
        options: A dataclass whose fields were made by `option`.

    Raises:
        ConfigError: One is out of its range.
    """
    for item in fields(options):
        within, value = item.metadata.get("within"), getattr(options, item.name)
        if within is not None and value is not None and not within.holds(value):
            raise ConfigError(f"{flag_of(item)}: {value!r}; allowed: {within.allowed}")


@dataclass(frozen=True)
class Choice:
    """One of several choices, with its own options."""

    name: ClassVar[str]
    """Name of the choice on the command line."""
    summary: ClassVar[str]
    """Description and source of the choice, for ``--help``."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def options(self) -> dict[str, Any]:
        """Return its options by their names on the command line."""
        return {flag_of(item): getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True)
class Method(Choice):
    """A way to train a pretrained model, with its default epochs and learning rates.

    Class attributes:
        epochs, learning_rate: Defaults.
        layer_decay: Default; None if all layers have one rate.
        head_learning_rate: Default; None is `learning_rate`.
        own_head_rate: True if the head can have its own learning rate.
        heads, templates: True if it trains models with a head, and models that answer a template.
        frozen: The model does not change, so its features are computed once.
        whole: All weights are trained, and saved.
        sized_by: The field that sets how much is trained; None if nothing does.
        why_no_checkpointing: The reason why gradient checkpointing is impossible; else empty.
        instead: What to take where an architecture does not support it.
    """

    epochs: ClassVar[int]
    learning_rate: ClassVar[float]
    layer_decay: ClassVar[float | None] = None
    head_learning_rate: ClassVar[float | None] = None
    own_head_rate: ClassVar[bool] = True
    heads: ClassVar[bool] = True
    templates: ClassVar[bool] = True
    frozen: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    sized_by: ClassVar[str | None] = None
    why_no_checkpointing: ClassVar[str] = ""

    @property
    def prompt_length(self) -> int:
        """Return the number of virtual tokens in the model's context."""
        return 0

    def prepare(self, backbone: nn.Module, base: Base, instruction: str) -> nn.Module:
        """Return the pretrained model with what is to be trained in it, all else frozen.

        Args:
            backbone: The pretrained model.
            base: The base model that it was loaded from.
            instruction: The words that its prompts begin with.

        Raises:
            ValueEvalError: The method does not work on this architecture.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Loss(Choice):
    """A loss over 20 independent yes-or-no questions."""

    def build(self, labels: npt.NDArray[np.bool_]) -> nn.Module:
        """Return the loss, called with logits and labels as floats, both (batch, 20).

        Args:
            labels: Labels of the training data, (arguments, 20).
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Contrastive(Choice):
    """A contrastive loss, which attracts arguments with values in common."""


@dataclass(frozen=True)
class Heads(Choice):
    """A kind of classifier head, and what it reads unless told otherwise.

    Class attributes:
        kind: The manifest's name for it.
        segments: The text of an argument.
        pooling: The only pooling that it can have; None leaves the choice.
    """

    kind: ClassVar[str]
    segments: ClassVar[tuple[str, ...]] = ("{premise}", "{stance_word}: {conclusion}")
    pooling: ClassVar[str | None] = None

    @property
    def values_at_once(self) -> int | None:
        """Return the number of values that a step reads an argument with; None for all 20."""
        return None


def refuse_unknown(what: str, name: str, known: Mapping[str, object]) -> None:
    """Refuse a choice that does not exist.

    Raises:
        ConfigError: It does not.
    """
    if name not in known:
        allowed = ", ".join(map(repr, known))
        raise ConfigError(f"{what}: {name!r}; allowed: {allowed}{did_you_mean(name, known)}")

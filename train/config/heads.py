"""The kinds of classifier heads (``--heads``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.choice import Heads, Range, option


@dataclass(frozen=True)
class Single(Heads):
    """One layer with 20 outputs."""

    name: ClassVar = "single"
    summary: ClassVar = "one layer with 20 outputs"
    kind: ClassVar = "linear"


@dataclass(frozen=True)
class Multiple(Heads):
    """A classifier for each value, with an attention of its own (Yang et al., 2016, 2.2)."""

    name: ClassVar = "multiple"
    summary: ClassVar = (
        "a classifier for each value, which pools the last hidden states with an attention of its "
        "own (Yang et al., 2016, 2.2)"
    )
    kind: ClassVar = "multiple"
    pooling: ClassVar = "attention"


@dataclass(frozen=True)
class CrossEncoder(Heads):
    """Reads an argument 20 times, each time with one value beside it (Nogueira and Cho, 2019)."""

    name: ClassVar = "cross-encoder"
    summary: ClassVar = (
        "the argument is read 20 times, each time with the description of a value beside it, and "
        "one layer gives that value's logit (Nogueira and Cho, 2019, 3); on the real data that is "
        "26 times the tokens, in evaluation as well"
    )
    kind: ClassVar = "cross-encoder"
    # The premise last: what is too long loses the end of the argument, not its stance.
    segments: ClassVar = ("{stance_word}: {conclusion} {premise}", "{value.name}: {value.short}")

    values_per_step: int | None = option(
        None,
        "Values that each argument is read with in a step of training, drawn anew each time. The "
        "loss is scaled so that it stays an unbiased estimate; a step costs that much less. "
        "Evaluation reads all. null is all 20. Source: our choice.",
        within=Range("1 to 20", 1, len(VALUE_NAMES)),
    )

    @property
    def values_at_once(self) -> int | None:
        """Return the number of values that a step reads an argument with; None for all 20."""
        return self.values_per_step


HEADS: dict[str, type[Heads]] = {kind.name: kind for kind in (Single, Multiple, CrossEncoder)}

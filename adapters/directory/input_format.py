"""The text that a model reads of an argument, and the kind of head that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

from valueeval.adapters.directory.errors import ManifestError, check_one_of
from valueeval.adapters.directory.typed_json import shown
from valueeval.tasks.data.dataset import STANCE_WORDS, Argument
from valueeval.tasks.values import Value

HEAD_KINDS = ("linear", "multiple", "cross-encoder")
POOLINGS = ("mean", "cls", "last", "attention")
INPUT_FIELDS = ("premise", "stance", "stance_word", "conclusion")
VALUE_FIELDS = ("value.name", "value.short", "value.long")


@dataclass(frozen=True)
class Head:
    """The classifier head.

    Attributes:
        kind: ``"linear"``: one linear layer with an output for each value; ``"multiple"``: a
            classifier for each value with an attention pooling of its own; ``"cross-encoder"``: one
            output, for the value that the input describes beside the argument.
        pooling: The vector that it reads: the ``"mean"`` of the last hidden states, the first
            token's (``"cls"``) or the last token's (``"last"``), or their mean weighted by
            ``"attention"``.
    """

    kind: str
    pooling: str

    def __post_init__(self) -> None:
        check_one_of("head.kind", self.kind, HEAD_KINDS)
        check_one_of("head.pooling", self.pooling, POOLINGS)
        if self.kind == "multiple":
            check_one_of("head.pooling", self.pooling, ("attention",))


@dataclass(frozen=True)
class InputFormat:
    """The text that the model reads of an argument.

    Attributes:
        segments: One or two texts with fields in braces: ``{premise}``, ``{conclusion}``,
            ``{stance}`` ("in favor of" or "against"), ``{stance_word}`` ("for" or "against").
            With a field of a value (``{value.name}``, ``{value.short}``: its description in a few
            words, ``{value.long}``: in a sentence or two) an argument becomes 20 inputs.
        max_length: Largest number of tokens, special tokens included; a longer input loses words
            from the end of its longest segment.
        separator: The text between two segments; None for a pair as the tokenizer joins pairs
            (GPT-2's puts nothing between them).
    """

    segments: tuple[str, ...]
    max_length: int
    separator: str | None = None

    def __post_init__(self) -> None:
        if len(self.segments) not in (1, 2):
            raise ManifestError(f"input.segments: {len(self.segments)} texts; allowed: one or two")
        for text in self.segments:
            _check_segment(text)
        if self.max_length < 8:
            raise ManifestError(f"input.max_length: {self.max_length}; allowed: 8 or more")

    @property
    def names_a_value(self) -> bool:
        """Return True if an argument becomes 20 inputs, each with a value beside it."""
        return any(field in VALUE_FIELDS for text in self.segments for field in _fields(text))

    @property
    def for_text_alone(self) -> tuple[str, ...]:
        """Return the segments for a text that has no conclusion and no stance.

        Of a segment with ``{premise}`` this and the fields of values stay; others stay if they name
        a value, and go if they do not.

        Raises:
            ManifestError: No segment has ``{premise}``.
        """
        kept = []
        for segment in self.segments:
            fields = _fields(segment)
            if "premise" in fields:
                left = [field for field in fields if field == "premise" or field in VALUE_FIELDS]
                kept.append(" ".join(f"{{{field}}}" for field in left))
            elif any(field in VALUE_FIELDS for field in fields):
                kept.append(segment)
        if not any("premise" in _fields(segment) for segment in kept):
            raise ManifestError(
                "input.segments: no segment has {premise}, so the model cannot read a text alone"
            )
        return tuple(kept)

    def texts(self, argument: Argument, value: Value | None = None) -> tuple[str, ...]:
        """Return the argument, beside a value if one is named, in the words of each segment.

        An argument whose conclusion is empty is a text alone: see `for_text_alone`.
        """
        words = {
            "premise": argument.premise,
            "conclusion": argument.conclusion,
            "stance": argument.stance,
            "stance_word": STANCE_WORDS.get(argument.stance, ""),
            "value": value,
        }
        segments = self.segments if argument.conclusion else self.for_text_alone
        return tuple(segment.format_map(words) for segment in segments)


def check_head_and_input(head: Head, form: InputFormat) -> None:
    """Refuse a cross-encoder whose input names no value, and other heads whose input names one.

    Raises:
        ManifestError: Names the segments and what is allowed.
    """
    if (head.kind == "cross-encoder") == form.names_a_value:
        return
    allowed = "{" + "} or {".join(VALUE_FIELDS) + "}"
    if form.names_a_value:
        raise ManifestError(f"input.segments: {allowed} has a meaning for a cross-encoder only")
    raise ManifestError(f"input.segments: a cross-encoder must be told of a value, by {allowed}")


def _fields(text: str) -> list[str]:
    """Return the names of the fields in a segment."""
    return [name for _, name, _, _ in Formatter().parse(text) if name is not None]


def _check_segment(text: str) -> None:
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ManifestError(f"input.segments: {shown(text)}: {error}") from None
    allowed = (*INPUT_FIELDS, *VALUE_FIELDS)
    for _, name, spec, conversion in parts:
        if name is not None and (name not in allowed or spec or conversion):
            raise ManifestError(
                f"input.segments: field {{{name[:80]}}} in {shown(text)}; allowed: "
                + ", ".join(f"{{{field}}}" for field in allowed)
            )

"""The model of a run: one with a classifier head, or one that answers a template."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Literal

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.input_format import Head, InputFormat, check_head_and_input
from valueeval.tasks.templates.decide import ASKS, TEMPLATES
from valueeval.train.config.choice import (
    ONE_OR_MORE,
    SHARE,
    ConfigError,
    Contrastive,
    Heads,
    Range,
    check_ranges,
    option,
)

GENERATED = tuple(
    template for template in TEMPLATES if all(ask.continuation is None for ask in ASKS[template])
)
"""Templates whose answer is text; that of the others is a difference of log-likelihoods."""


@dataclass(frozen=True)
class Template:
    """A language model that answers the questions of a task in words, without a head.

    Attributes:
        name: The template.
        paraphrase: Its wording.
        chat_template: True for prompts in the base's chat template, worded for chats.
    """

    name: str
    paraphrase: int = option(
        1,
        "Wording of the template. Source: the tasks' prompts, our own.",
        within=ONE_OR_MORE,
        group="model",
    )
    chat_template: bool = option(
        False,
        "Train on the prompts that lm_eval --apply_chat_template asks: the base's chat template, "
        "and the wording for chat models. The adapter is then evaluated with that flag, any other "
        "without it. Source: the prompt of a chat model in use.",
        group="model",
    )

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def generated(self) -> bool:
        """Return True if the answer is text."""
        return self.name in GENERATED


@dataclass(frozen=True)
class ClassifierOptions:
    """A pretrained model with a classifier head, and the text that it reads."""

    heads: Heads
    segments: tuple[str, ...] = option(
        ...,
        "The text of an argument, one or two segments; fields {premise}, {conclusion}, {stance}, "
        "{stance_word}, and with a cross-encoder {value.name}, {value.short} (its description in "
        "a few words), {value.long}. Default: the premise, then stance word and conclusion; for a "
        "cross-encoder all of the argument, then name and description of the value. Source: our "
        "choice.",
        group="head",
    )
    contrastive: Contrastive | None = None
    pooling: Literal["mean", "cls", "last", "attention"] | None = option(
        None,
        "What the head reads: the mean of the last hidden states, the first token's (cls; not of "
        "a decoder, whose first token sees no other), the last token's (last), or their mean "
        "weighted by a trained attention. null is mean; attention for multiple heads, and last for "
        "a cross-encoder on a decoder, where only the tokens behind the argument know the value. "
        "Source: mean is how all-MiniLM-L6-v2 was trained, best for the encoder of a T5 (Ni et "
        "al., 2022), and on a decoder better than the last token (train/README.md, «Heads on a "
        "decoder»), which Transformers' classifiers read, after Radford et al., 2018, 3.2.",
        group="head",
    )
    dropout: float = option(
        0.1,
        "Share of the pooled features dropped in training. Source: BERT (Devlin et al., 2019), "
        "A.2.",
        within=SHARE,
        group="head",
    )
    separator: str | None = option(
        None,
        "What stands between two segments. null: encoders read them as a pair, as their tokenizer "
        "joins pairs; decoders, whose tokenizer need not put anything between them, have a line "
        "break there. Source: our choice.",
        group="head",
    )
    max_length: int = option(
        256,
        "Tokens that are read of an argument; longer ones are cut at the end of the longest "
        "segment, and counted. Source: all of training and validation are shorter (171 tokens of "
        "BERT at most).",
        group="head",
    )

    text_alone_share: float | None = option(
        None,
        "Share of the arguments of an epoch that are shown as their premise alone, without "
        "conclusion and stance, drawn anew each epoch by the seed; labels, and the probabilities "
        "of a teacher, stay those of the whole argument. So the model learns to read texts "
        "alone as well (valueeval predict --text_column). The manifest's validation scores then "
        "hold macro_f1_text_alone. 0 reports this without training for it; null shows whole "
        "arguments. Source: our choice.",
        within=Range("0 to 1", 0, 1),
        group="data",
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.heads.pooling is not None and self.pooling not in (None, self.heads.pooling):
            raise ConfigError(
                f"pooling: {self.pooling!r} has no meaning with --heads {self.heads.name}, where "
                "each value has an attention of its own: leave it out, or take --heads single"
            )
        if self.contrastive is not None and self.heads.name == "cross-encoder":
            raise ConfigError(
                f"contrastive: {self.contrastive.name!r} has no meaning with --heads "
                "cross-encoder, which has features of argument and value together, none of an "
                "argument: leave it out, or take --heads single"
            )
        self._check_segments()

    def _check_segments(self) -> None:
        try:
            check_head_and_input(Head(self.heads.kind, "attention"), self.input_format)
        except ManifestError as error:
            raise ConfigError(str(error).removeprefix("input.")) from None
        segments = self.segments
        if not all(text.strip() for text in segments):
            raise ConfigError(f"segments: {list(segments)}; allowed: texts that are not empty")
        if not any(name for text in segments for _, name, _, _ in Formatter().parse(text)):
            raise ConfigError(
                f"segments: {list(segments)}; allowed: texts with fields in them, such as "
                "{premise} and {conclusion}"
            )
        if self.text_alone_share is not None:
            try:
                _ = self.input_format.for_text_alone
            except ManifestError as error:
                raise ConfigError(
                    f"text_alone_share: {self.text_alone_share}: "
                    + str(error).removeprefix("input.")
                ) from None
        if self.separator is not None and len(segments) == 1:
            raise ConfigError(
                f"separator: {self.separator!r} has no meaning with one segment: leave it out, or "
                "give two --segments"
            )

    @property
    def head(self) -> Head:
        """Return the head for the manifest; an open pooling is that of an encoder."""
        return Head(self.heads.kind, self.pooling or "mean")

    @property
    def input_format(self) -> InputFormat:
        """Return the input format for the manifest."""
        return InputFormat(self.segments, self.max_length, self.separator)

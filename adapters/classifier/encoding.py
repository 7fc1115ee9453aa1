"""Arguments as tokens, ready for a model with a head; imports neither PyTorch nor Transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from valueeval.adapters.directory.input_format import InputFormat
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.templates.cut_argument import cut_argument
from valueeval.tasks.values import VALUES, Value

_TEXTS_AT_ONCE = 2048


class Tokenizer(Protocol):
    """A tokenizer, called as one of Transformers."""

    model_input_names: list[str]

    def __call__(self, *texts: list[str], **options: Any) -> Any:
        """Return lists of numbers by name, for texts or pairs of texts."""


@dataclass(frozen=True)
class TokenizedArguments:
    """Arguments as tokens.

    Attributes:
        inputs: The tokenizer's output for each argument (``input_ids``, and ``token_type_ids`` for
            models that know them), unpadded; for a cross-encoder 20 for each argument, in the order
            of the values.
        cut: Indices of the arguments that were longer than the input format's limit and were cut.
    """

    inputs: list[dict[str, list[int]]]
    cut: frozenset[int]

    @property
    def truncated(self) -> int:
        """Return the number of arguments that were cut."""
        return len(self.cut)

    @property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each input."""
        return [len(item["input_ids"]) for item in self.inputs]


def encode(
    tokenizer: Tokenizer, arguments: Sequence[Argument], form: InputFormat
) -> TokenizedArguments:
    """Tokenize arguments; inputs that are too long are cut at the end of the longest segment."""
    values: Sequence[Value | None] = VALUES if form.names_a_value else (None,)
    texts = [form.texts(argument, value) for argument in arguments for value in values]
    if not texts:
        return TokenizedArguments([], frozenset())
    joined = texts if form.separator is None else [(form.separator.join(text),) for text in texts]
    inputs = _tokens(tokenizer, joined, form.max_length)
    # Only inputs at the limit can have been cut: those few are tokenized again, uncut.
    full = [row for row, item in enumerate(inputs) if len(item["input_ids"]) >= form.max_length]
    uncut = _tokens(tokenizer, [joined[row] for row in full]) if full else []
    long = [
        row
        for row, item in zip(full, uncut, strict=True)
        if len(item["input_ids"]) > form.max_length
    ]
    if long and form.separator is not None:  # else the tokenizer knew the segments
        shorter = [(_cut_longest(texts[row], tokenizer, form),) for row in long]
        for row, item in zip(long, _tokens(tokenizer, shorter, form.max_length), strict=True):
            inputs[row] = item
    return TokenizedArguments(inputs, frozenset(row // len(values) for row in long))


def _tokens(
    tokenizer: Tokenizer,
    texts: Sequence[tuple[str, ...]],
    limit: int | None = None,
) -> list[dict[str, list[int]]]:
    """Tokenize texts, or pairs of texts, to at most `limit` tokens each."""
    options: dict[str, Any] = {"return_attention_mask": False, "padding": False, "verbose": False}
    if limit is not None:
        options.update(truncation="longest_first", max_length=limit)
    # To save memory with the 20 inputs of a cross-encoder, texts are tokenized in chunks, and equal
    # numbers are one object.
    numbers: dict[int, int] = {}
    inputs: list[dict[str, list[int]]] = [{} for _ in texts]
    # Texts alone and pairs may stand side by side; the tokenizer takes one kind at a time.
    for segments in sorted({len(text) for text in texts}):
        rows = [row for row, text in enumerate(texts) if len(text) == segments]
        for start in range(0, len(rows), _TEXTS_AT_ONCE):
            chunk = rows[start : start + _TEXTS_AT_ONCE]
            columns = zip(*(texts[row] for row in chunk), strict=True)
            found = tokenizer(*map(list, columns), **options)
            names = [name for name in found if name in tokenizer.model_input_names]
            for place, row in enumerate(chunk):
                inputs[row] = {
                    name: [numbers.setdefault(n, n) for n in found[name][place]] for name in names
                }
    return inputs


def _cut_longest(segments: tuple[str, ...], tokenizer: Tokenizer, form: InputFormat) -> str:
    """Join segments, the longest of which loses words at its end until all of it fits.

    If two are too long the text stays as it is.
    """
    text = (form.separator or "").join(segments)

    def fits(prompts: list[str]) -> bool:
        return len(_tokens(tokenizer, [(prompts[0],)])[0]["input_ids"]) <= form.max_length

    shortened = cut_argument([text], max(segments, key=len), fits)
    return text if shortened is None else shortened[0]


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield indices in batches of similar length, longest first, so that failures come early."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]

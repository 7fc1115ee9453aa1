"""Second station: prompts that are longer than a model reads lose the end of their argument.

The question about it stays whole. Where even a prompt without its premise is too long, the
beginning of the prompt is cut, as ``hf`` does. What was cut is counted by task.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from valueeval.adapters.harness.encoding import Encoder
from valueeval.adapters.harness.prompts import ARGUMENT, PROMPT, Prompt
from valueeval.adapters.reading.types import EncodedPair
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.templates.cut_argument import cut_argument

Counts = Mapping[str, Mapping[str, int]]
"""Numbers of arguments, by what was cut (``ARGUMENT``, ``PROMPT``) and task."""


def fit_document(encoder: Encoder, prompts: Sequence[Prompt], limit: int) -> list[Prompt]:
    """Shorten the prompts about one argument to the tokens that a model reads.

    Args:
        encoder: Encodes what was shortened; prompts that fit are not encoded again.
        prompts: The prompts.
        limit: Number of tokens that the model reads at most.

    Raises:
        ValueEvalError: A continuation alone is longer than that.
    """
    if all(encoder.count(prompt) <= limit for prompt in prompts):
        return list(prompts)
    shortened = _shorten_argument(encoder, prompts, limit)
    if shortened is None:
        return [_cut_left(encoder, prompt, limit) for prompt in prompts]
    return shortened


def _shorten_argument(
    encoder: Encoder, prompts: Sequence[Prompt], limit: int
) -> list[Prompt] | None:
    """Cut the end of the premise; None if that does not suffice, or another task asks."""
    first = prompts[0].request
    if not isinstance(first, ValueRequest):
        return None

    def encoded(contexts: list[str]) -> list[Prompt]:
        changed = {
            place: replace(prompt.request, arguments=(context, prompt.request.args[1]))
            for place, (prompt, context) in enumerate(zip(prompts, contexts, strict=True))
            if context != prompt.request.args[0]
        }
        again = iter(encoder.encode_document(list(changed.values())))
        return [
            replace(next(again), lost=ARGUMENT) if place in changed else prompt
            for place, prompt in enumerate(prompts)
        ]

    def fits(contexts: list[str]) -> bool:
        return all(encoder.count(prompt) <= limit for prompt in encoded(contexts))

    # The prompts have the premise without blanks at its ends.
    premise = first.doc["premise"].strip()
    texts = [prompt.request.args[0] for prompt in prompts]
    contexts = cut_argument(texts, premise, fits, first.around_premise)
    return None if contexts is None else encoded(contexts)


def _cut_left(encoder: Encoder, prompt: Prompt, limit: int) -> Prompt:
    """Cut the beginning of a prompt that is too long, as ``hf`` does."""
    excess = encoder.count(prompt) - limit
    if excess <= 0:
        return prompt
    context, continuation = prompt.tokens
    if excess >= len(context):
        raise ValueEvalError(
            f"a continuation of {len(continuation)} tokens is longer than the {limit} that fit"
        )
    return replace(prompt, tokens=EncodedPair(context[excess:], continuation), lost=PROMPT)


class CutCounter:
    """Counts the arguments of which something was cut, each once, by task."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], set[object]] = defaultdict(set)
        self._of_all_processes: dict[str, Counter[str]] | None = None

    def note(self, lost: str, task: str, document: object) -> None:
        """Count an argument.

        Args:
            lost: What was cut: ``ARGUMENT`` or ``PROMPT``.
            task: Name of the task.
            document: What tells the argument from others of the task.
        """
        self._documents[lost, task].add(document)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the counts of this process."""
        counts: dict[str, dict[str, int]] = {ARGUMENT: {}, PROMPT: {}}
        for (lost, task), documents in self._documents.items():
            counts[lost][task] = len(documents)
        return counts

    def since(self, before: Counts) -> Iterator[tuple[str, str, int]]:
        """Yield what was cut, the task, and by how much this process's counts grew.

        Args:
            before: Earlier `counts`.
        """
        for lost, counts in self.counts().items():
            for task, number in counts.items():
                if more := number - before[lost].get(task, 0):
                    yield lost, task, more

    def separate(self, gathered: Sequence[tuple[Any, Counts]] | None) -> list[Any] | None:
        """Separate truncation counts from the gathered objects and sum them.

        Args:
            gathered: An object and the counts of each process; None in processes that get nothing.

        Returns:
            The objects; None if there are none.
        """
        if gathered is None:
            return None
        self._of_all_processes = {
            lost: sum((Counter(counts[lost]) for _, counts in gathered), Counter())
            for lost in (ARGUMENT, PROMPT)
        }
        return [obj for obj, _ in gathered]

    def all_counts(self) -> Mapping[str, dict[str, int]]:
        """Return the counts of all processes, as far as they were gathered."""
        if self._of_all_processes is None:
            return self.counts()
        return {lost: dict(counts) for lost, counts in self._of_all_processes.items()}

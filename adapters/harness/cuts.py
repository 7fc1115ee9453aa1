"""Arguments whose prompts were longer than a model reads: which ones, and what they lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.adapters.harness.documents import document_key

Counts = Mapping[str, Mapping[str, int]]
"""Numbers of arguments, by what was cut (``ARGUMENT``, ``PROMPT``) and task."""

ARGUMENT = "arguments_cut"
"""The end of the premise."""
PROMPT = "prompts_cut"
"""The beginning of the prompt (instruction, examples …): it is too long even without a premise."""


class Cuts:
    """Counts arguments, each once however many requests there are about it.

    Results of lm-eval hold both counts under their names, each by task.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], set[object]] = defaultdict(set)
        self._all: dict[str, Counter[str]] | None = None

    def note(self, what: str | None, request: Instance) -> None:
        """That a request lost something: ``ARGUMENT`` or ``PROMPT``; None is nothing."""
        if what is not None:
            self._of[what, str(request.task_name)].add(document_key(request))

    def own(self) -> dict[str, dict[str, int]]:
        """What this process has cut: numbers of arguments by task."""
        counts: dict[str, dict[str, int]] = {ARGUMENT: {}, PROMPT: {}}
        for (what, task), documents in self._of.items():
            counts[what][task] = len(documents)
        return counts

    def since(self, before: Counts) -> Iterator[tuple[str, str, int]]:
        """What this process has cut since `own` told ``before``: what, task, how many more."""
        for what, counts in self.own().items():
            for task, number in counts.items():
                if more := number - before[what].get(task, 0):
                    yield what, task, more

    def gathered(self, told: Sequence[tuple[Any, Counts]] | None) -> list[Any] | None:
        """Takes what every process has cut, this one among them, out of what they sent together.

        Args:
            told: Of each process an object, and what it has cut; None in those that are told
                nothing.

        Returns:
            The objects; None if there are none.
        """
        if told is None:
            return None
        self._all = {
            what: sum((Counter(counts[what]) for _, counts in told), Counter())
            for what in (ARGUMENT, PROMPT)
        }
        return [its for its, _ in told]

    def all(self) -> Mapping[str, dict[str, int]]:
        """What all processes have cut, as far as they have told."""
        if self._all is None:
            return self.own()
        return {what: dict(counts) for what, counts in self._all.items()}

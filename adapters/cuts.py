"""Arguments whose prompts were longer than a model reads: which ones, and what they lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from lm_eval.api.instance import Instance

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
            document = request.args[0] if request.doc_id is None else request.doc_id
            self._of[what, str(request.task_name)].add(document)

    def own(self) -> dict[str, dict[str, int]]:
        """What this process has cut: numbers of arguments by task."""
        counts: dict[str, dict[str, int]] = {ARGUMENT: {}, PROMPT: {}}
        for (what, task), documents in self._of.items():
            counts[what][task] = len(documents)
        return counts

    def gathered(self, counts: list[dict[str, dict[str, int]]]) -> None:
        """Takes what every process has cut, this one among them."""
        self._all = {
            what: sum((Counter(one[what]) for one in counts), Counter())
            for what in (ARGUMENT, PROMPT)
        }

    def all(self) -> Mapping[str, dict[str, int]]:
        """What all processes have cut, as far as they have told."""
        if self._all is None:
            return self.own()
        return {what: dict(counts) for what, counts in self._all.items()}

"""The task class of second turns: a model's reply is given back to it, and asked about.

The paper's chain of thought has two turns: which values does the argument indicate; then, the reply
given back, is it aligned with each value. The first is ``valueeval_cot``; its samples are named by
``--metadata '{"replies": "samples_valueeval_cot_….jsonl"}'``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lm_eval.api.utils import Message

from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.first_turn import Reply, prompt_text, read_first_turn
from valueeval.tasks.harness.origin import model_of_arguments
from valueeval.tasks.harness.task import ValueEvalTask, compile_wording
from valueeval.tasks.templates.decide import ASKS
from valueeval.tasks.templates.wording import Wording

# Chat templates may print today's date: 30 Nov 2026; November 30, 2026; 2026-11-30.
_MONTH = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    "Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DATE = re.compile(
    r"(?:\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? )?"
    rf"\b(?:\d{{1,2}} {_MONTH},? \d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}}|\d{{4}}-\d\d-\d\d)\b"
)

_EXAMPLE = (
    '--metadata \'{"replies": "runs/*/samples_valueeval_cot_2*.jsonl"}\', the samples of '
    "valueeval_cot by the same model (--log_samples)"
)


class SecondTurnTask(ValueEvalTask):
    """One wording of a second turn on one set.

    The YAML file includes that of the first turn, whose words are asked again, and has
    ``follow_up``: the second question, ``plain`` and ``chat``. Where the first turn was sampled
    several times, each reply is asked about, and the replies vote (self-consistency).

    Raises:
        ValueEvalError: As the base class; or no replies are named, they cannot be read, or are of
            another model.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        download_mode: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(config or {})
        follow_up = given.get("follow_up") or {}
        if set(follow_up) != {"plain", "chat"}:
            raise ValueEvalError(f"task {given.get('task')}: `follow_up` needs plain and chat")
        self._follow_ups = {
            form: compile_wording(given, {"question": text}, {}) for form, text in follow_up.items()
        }
        metadata = given.get("metadata") or {}
        if not metadata.get("replies"):
            raise ValueEvalError(
                f"{given.get('task')} asks about a model's replies: name them by {_EXAMPLE}."
            )
        self._first_turn = read_first_turn(metadata["replies"])
        votes = self._first_turn.votes
        if metadata.get("votes", votes) != votes:
            raise ValueEvalError(
                f"{given.get('task')}: votes are {clean(metadata['votes'])}, but there are {votes} "
                "replies about each argument. Leave votes out here."
            )
        if votes > 1:
            given["metadata"] = {**metadata, "votes": votes}
        super().__init__(data_dir, cache_dir, download_mode, given)
        asks = ASKS[self.template]
        prompts = max(ask.prompt for ask in asks) + 1
        self._asks = tuple(
            ask._replace(prompt=ask.prompt + vote * prompts)
            for vote in range(votes)
            for ask in asks
        )
        for one in self._follow_ups.values():  # an unknown variable is told at once
            one.ask(self.task_docs[0], self._asks[0].value)
        self._refuse_another_model(model_of_arguments(metadata))
        self._identity["first_turn"] = {
            "model": self._first_turn.model,
            "samples_sha256": self._first_turn.sha256,
        }
        self.config.metadata = {**self.config.metadata, **self._identity}

    def fewshot_context(
        self,
        doc: Mapping[str, Any],
        num_fewshot: int,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Callable[[list[dict[str, str]]], str] | None = None,
        gen_prefix: str | None = None,
    ) -> list[str]:
        """Return the prompts about one argument: the first turn, a reply, a question about it.

        Returns:
            The prompts about each reply, one for each index that ``Ask.prompt`` takes.

        Raises:
            ValueEvalError: Examples are asked for; there is no reply; or it answers another prompt
                (another wording, system instruction or chat template, or examples).
        """
        if num_fewshot:
            raise ValueEvalError(f"{self.config.task} has no few-shot examples: leave them out.")
        (first,) = super().fewshot_context(
            doc, 0, system_instruction, apply_chat_template, fewshot_as_multiturn, chat_template
        )
        replies = self._replies(doc, first)
        template = chat_template if apply_chat_template else None
        follow_up = self._follow_ups["plain" if template is None else "chat"]
        values = dict.fromkeys(ask.value for ask in self._asks)
        questions = [follow_up.ask(doc, value) for value in values]
        if template is None:
            return [
                f"{first}{'' if reply.text[:1].isspace() else ' '}{reply.text.rstrip()}\n{question}"
                for reply in replies
                for question in questions
            ]
        (said,) = self._conversations(doc, 0, system_instruction, chat=True)
        turns = [
            [*said, Message("assistant", reply.text.strip()), Message("user", question)]
            for reply in replies
            for question in questions
        ]
        return [template([message.to_dict() for message in messages]) for messages in turns]

    def _turns(self, doc: Mapping[str, Any], wording: Wording) -> list[str]:
        """Return argument and question of the first turn."""
        return [wording.turn(doc)]

    def _replies(self, doc: Mapping[str, Any], prompt: str) -> tuple[Reply, ...]:
        replies = self._first_turn.replies.get(doc["id"])
        if replies is None:
            raise ValueEvalError(
                f"{self.config.task}: no reply about argument {clean(doc['id'])}. Name the samples "
                "of the same set, and of the same --limit or more."
            )
        if _without_dates(replies[0].prompt) != _without_dates(prompt_text(prompt)):
            raise ValueEvalError(
                f"{self.config.task}: the reply about argument {clean(doc['id'])} answers another "
                "prompt: ask both turns with the same paraphrase, --apply_chat_template and "
                "--system_instruction, without --num_fewshot."
            )
        return replies

    def _refuse_another_model(self, model: str | None) -> None:
        known = self._first_turn.model
        if known is not None and model is not None and known != model:
            raise ValueEvalError(
                f"{self.config.task}: the replies are by {clean(known)}, not by {clean(model)}. "
                f"Name {_EXAMPLE}."
            )


def _without_dates(prompt: str) -> str:
    """Return a prompt without the dates in it: the second turn may be asked on another day."""
    return _DATE.sub("DATE", prompt)

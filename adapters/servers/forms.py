"""``guided=FIELD``: the forms of answers, as servers take them (structured output).

The forms are those of the local ``guided=True`` (`valueeval.adapters.reading.guided`). A field of
the request carries them:

- ``json_schema``: ``response_format`` of OpenAI's protocol, which most servers take. The answer is
  JSON: an answer for each value (mbc, cot2list), a word (oa), reasoning and names (cot).
- ``structured_outputs`` (vLLM), ``guided_regex`` (vLLM before 0.12), ``regex`` (SGLang): a regular
  expression for the text that the task asks for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.values import VALUE_NAMES, VALUES

FIELDS = ("json_schema", "structured_outputs", "guided_regex", "regex")
"""Fields of a request that can carry a form."""

GUIDED_TEMPLATES = ("mbc", "cot2list", "oa", "cot")
"""Templates whose answers have a form."""

_YES_NO = ("yes", "no")
# Neither names nor keywords hold a character that means something in a regular expression, and what
# else re.escape marks (blanks, hyphens) some engines do not take.
_NAME = f"(?:{'|'.join(VALUE_NAMES)})"
# Lines of reasoning in text: enough for «a few sentences», and a bound that grammars can hold.
_MOST_LINES = 8


@dataclass(frozen=True)
class AnswerForm:
    """The form of an answer, in JSON and as text.

    Attributes:
        schema: JSON schema, of the subset that OpenAI's strict mode takes.
        pattern: Regular expression of the whole text, without look-around or back references.
        start: What every such text begins with; may be empty.
        room: Number of tokens that an answer in JSON needs at least.
    """

    schema: dict[str, Any]
    pattern: str
    start: str
    room: int

    def fields(self, field: str) -> dict[str, Any]:
        """Return what is added to a request, given one of :data:`FIELDS`."""
        if field == "json_schema":
            named = {"name": "answer", "strict": True, "schema": self.schema}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        return {field: {"regex": self.pattern} if field == "structured_outputs" else self.pattern}

    def fits(self, text: str, field: str, cut: bool = False) -> bool:
        """Return whether an answer has the form that a field carries.

        Args:
            text: The answer.
            field: One of :data:`FIELDS`.
            cut: True if its end is missing: then whether it begins as the form does.
        """
        if cut:
            return text.lstrip().startswith("{" if field == "json_schema" else self.start)
        if field != "json_schema":
            return re.fullmatch(self.pattern, text.strip()) is not None
        try:
            found = json.loads(text)
        except ValueError:
            return False
        return isinstance(found, dict) and found.keys() == self.schema["properties"].keys()


def form_of(request: Instance) -> AnswerForm | None:
    """Return the form of the answer to a request; None if the request is not one of ours."""
    if not isinstance(request, ValueRequest):
        return None
    return answer_form(request.template, request.value)


def answer_form(template: str, value: int | None) -> AnswerForm | None:
    """Return the form of the answers to a template; None if they have none.

    Args:
        template: One of ``valueeval.tasks.templates.decide.ALL_TEMPLATES``.
        value: Index into ``VALUES`` of the value that is asked about (oa); else None.
    """
    if template in ("mbc", "cot2list"):
        numbered = {f"{n}. {name}": _one_of(_YES_NO) for n, name in enumerate(VALUE_NAMES, 1)}
        lines = [rf"{n}\. (?:[Yy]es|[Nn]o)" for n in range(1, len(VALUES) + 1)]
        return AnswerForm(_object(numbered), r"\n".join(lines), "1. ", room=512)
    if template == "oa" and value is not None:
        words = (*VALUES[value].keywords, "indifferent")
        return AnswerForm(_object({"answer": _one_of(words)}), "|".join(words), "", room=48)
    if template == "cot":
        names = {"type": "array", "items": _one_of(VALUE_NAMES)}
        schema = _object({"reasoning": {"type": "string"}, "final_answer": names})
        listed = rf"(?:none|{_NAME}(?:; {_NAME}){{0,{len(VALUES) - 1}}})"
        pattern = rf"(?:[^\n]+\n){{1,{_MOST_LINES}}}Final answer: {listed}"
        return AnswerForm(schema, pattern, "", room=768)
    return None


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_of(words: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}

"""Compile the wordings of a template (Jinja) and list its requests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jinja2
from jinja2 import meta

from valueeval.tasks.data.dataset import STANCE_WORDS
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUES, Value

# Prompts are plain text, nothing to escape. An unknown name in a wording is an error at once.
_JINJA = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701
)


class Ask(NamedTuple):
    """One request of a template about one argument.

    Attributes:
        prompt: Index into :meth:`Wording.turns` of the prompt that it continues.
        value: Index into ``VALUES``; ``None`` if it is about all of them.
        role: As in :class:`valueeval.tasks.harness.requests.ValueRequest`.
        continuation: Text scored by log-likelihood; ``None`` where the model generates.
    """

    prompt: int
    value: int | None
    role: str
    continuation: str | None = None


class Wording:
    """The words of one task, compiled once.

    The Jinja variables are ``premise``, ``conclusion``, ``stance_word`` ("for" or "against") and
    ``values`` (the 20); in ``question`` also ``value`` where the template asks about one at a time;
    in ``description`` only ``values``.

    Args:
        description: The instruction, which comes first and is the same for every argument.
        argument: The argument's text.
        question: The question after the argument.
        empty_argument: Text in the argument's place where a prior is measured (cls only).

    Raises:
        ValueEvalError: a wording is no valid Jinja template, or (when rendered) names a variable
            that does not exist there.
    """

    def __init__(
        self, description: str, argument: str, question: str, empty_argument: str | None = None
    ) -> None:
        self.description = _Text("description", description).render({"values": VALUES}).strip()
        self._argument = _Text("doc_to_text", argument)
        self._question = _Text("question", question)
        self._empty_argument = empty_argument
        self._same_questions: dict[int | None, str] = {}

    def argument(self, doc: Mapping[str, Any]) -> str:
        """Return the text of one argument."""
        return self._argument.render(_variables(doc))

    def around_premise(self, doc: Mapping[str, Any]) -> tuple[str, str]:
        """Return the argument's text before its premise, and the text after it."""
        mark = "\0"  # in no text
        before, _, after = self._argument.render({**_variables(doc), "premise": mark}).partition(
            mark
        )
        return before, after

    def turn(self, doc: Mapping[str, Any], value: int | None = None) -> str:
        """Return what a user says: the argument and the question about it."""
        variables = _variables(doc)
        return _join(self._argument.render(variables), self._render_question(variables, value))

    def ask(self, doc: Mapping[str, Any], value: int | None = None) -> str:
        """Return the question alone."""
        return self._render_question(_variables(doc), value)

    def turns(self, doc: Mapping[str, Any], about: tuple[int | None, ...]) -> list[str]:
        """Return one turn for each entry of ``about``; all begin with the argument's text."""
        variables = _variables(doc)
        argument = self._argument.render(variables)
        return [_join(argument, self._render_question(variables, value)) for value in about]

    @cached_property
    def empty_turn(self) -> str:
        """Return the question after the empty argument."""
        if self._empty_argument is None:
            raise ValueEvalError("this template has no `empty_argument` in its YAML file")
        return _join(self._empty_argument, self._render_question({"values": VALUES}, None))

    def _render_question(self, variables: dict[str, Any], value: int | None) -> str:
        if value in self._same_questions:
            return self._same_questions[value]
        about: dict[str, Value] = {} if value is None else {"value": VALUES[value]}
        question = self._question.render({**variables, **about}).rstrip()
        if self._question.names <= {"value", "values"}:  # the same for every argument
            self._same_questions[value] = question
        return question


class _Text:
    """One key of the YAML file, compiled; its errors name the key."""

    def __init__(self, key: str, text: str) -> None:
        self._key = key
        try:
            self._template = _JINJA.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise ValueEvalError(f"`{key}` is no valid Jinja template: {error}") from error
        self.names = meta.find_undeclared_variables(_JINJA.parse(text))

    def render(self, variables: Mapping[str, Any]) -> str:
        try:
            return self._template.render(variables)
        except jinja2.UndefinedError as error:
            raise ValueEvalError(
                f"`{self._key}`: {error} here; known are {', '.join(variables)}"
            ) from error


def _variables(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {
        # one text in twenty of the official files has blanks at its ends
        "premise": doc["premise"].strip(),
        "conclusion": doc["conclusion"].strip(),
        "stance_word": STANCE_WORDS[doc["stance"]],
        "values": VALUES,
    }


def _join(argument: str, question: str) -> str:
    """Join on separate lines, unless the wording itself puts white space between them."""
    touching = not (argument[-1:].isspace() or question[:1].isspace())
    return f"{argument}\n{question}" if touching else argument + question

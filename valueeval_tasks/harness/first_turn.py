"""The replies of a first turn: what a model said to ``valueeval_cot``, from its samples."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.origin import origin_of
from valueeval.tasks.harness.samples import json_lines, template_of
from valueeval.tasks.templates.thinking import without_thinking


@dataclass(frozen=True)
class Reply:
    """A model's reply about an argument.

    Attributes:
        prompt: The text that it was given.
        text: What it said, without thinking; empty where it said nothing else.
    """

    prompt: str
    text: str


@dataclass(frozen=True)
class FirstTurn:
    """The first turn of a run.

    Attributes:
        replies: The replies about each argument, by id; there are several for a vote.
        model: The model that said them; None if no results file lies beside the samples.
        sha256: Hash of the samples files.
    """

    replies: dict[str, tuple[Reply, ...]]
    model: str | None
    sha256: str

    @property
    def votes(self) -> int:
        """Return the number of replies about each argument."""
        return len(next(iter(self.replies.values())))


def read_first_turn(given: str | Sequence[str]) -> FirstTurn:
    """Read the samples of template cot.

    Args:
        given: Path of a samples file, a pattern (``runs/*/samples_valueeval_cot_2*.jsonl``), or
            several of these.

    Raises:
        ValueEvalError: There is no such file, it is another template's, or an argument is there
            twice, without a reply, or with more or fewer than others; the message says where.
    """
    patterns = [given] if isinstance(given, str) else list(given)
    paths = [path for pattern in patterns for path in sorted(glob.glob(str(pattern)))]
    if not paths:
        raise ValueEvalError(f"replies: no file {clean(', '.join(map(str, patterns)))}")
    replies: dict[str, tuple[Reply, ...]] = {}
    digest = hashlib.sha256()
    for path in paths:
        if template_of(path) != "cot":
            raise ValueEvalError(f"{path}: the samples are of {template_of(path)}, not of cot")
        digest.update(Path(path).read_bytes())
        for line, sample in json_lines(Path(path)):
            id, given_replies = _replies(sample, f"{path}, line {line}")
            if id in replies:
                raise ValueEvalError(
                    f"{path}, line {line}: argument {clean(id)} is there twice: give the samples "
                    "of one run."
                )
            if replies and len(given_replies) != len(next(iter(replies.values()))):
                raise ValueEvalError(
                    f"{path}, line {line}: argument {clean(id)} has {len(given_replies)} replies, "
                    "others have more or fewer: give the samples of one run."
                )
            replies[id] = given_replies
    return FirstTurn(replies, origin_of(paths[0]).model, digest.hexdigest())


def prompt_text(prompt: Any) -> Any:
    """Return a prompt as text: lm-eval wraps that of a chat server in a tuple of one."""
    return prompt[0] if isinstance(prompt, (list, tuple)) and len(prompt) == 1 else prompt


def _replies(sample: dict[str, Any], where: str) -> tuple[str, tuple[Reply, ...]]:
    try:
        id, prompt = sample["doc"]["id"], sample["arguments"]["gen_args_0"]["arg_0"]
        (answer,) = sample["filtered_resps"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueEvalError(
            f"{where}: not a sample that lm_eval --log_samples wrote for valueeval_cot"
        ) from error
    prompt = prompt_text(prompt)
    texts = answer if isinstance(answer, list) and answer else [answer]
    if not all(isinstance(each, str) for each in (id, prompt, *texts)):
        raise ValueEvalError(f"{where}: id, prompt and reply must be text")
    return id, tuple(Reply(prompt, without_thinking(text) or "") for text in texts)

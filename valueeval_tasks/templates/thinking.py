"""Find the answer among thinking, channels, tags and the special tokens of chat templates.

Read are, with what counts as the answer:

- ``<think>…</think> ANSWER`` (also thinking, thought, reasoning, …; ``[THINK]``, ``◁think▷``), and
  thinking that the prompt has opened: ``… </think> ANSWER``. Thinking without end is no answer.
- ``<|channel|>analysis<|message|>…<|channel|>final<|message|>ANSWER``, and what is left of it where
  special tokens were dropped: ``analysis…assistantfinalANSWER``.
- ``<answer>ANSWER</answer>`` (also final_answer, response, output, solution), closed or cut off;
  ``<|begin_of_solution|>ANSWER<|end_of_solution|>``.
- ``<|im_start|>assistant ANSWER<|im_end|>``: a header before, other turns behind.
"""

from __future__ import annotations

import re

_THOUGHT = r"(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis|rationale)"
_THINKING = re.compile(
    r"<\|?(?:(?P<end>/|end_(?:of_)?)|(?:begin|start)_(?:of_)?)?(?:seed:)?" + _THOUGHT + r"\|?>"
    r"|\[(?P<end_in_brackets>/)?think(?:ing)?\]|◁(?P<end_of_kimi>/)?think▷",
    re.IGNORECASE,
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s{0,4}final\b[^<\n]{0,40}<\|message\|>")
_BARE_CHANNEL = re.compile(r"\s{0,8}analysis(?=[A-Z\"'(*])")
_BARE_FINAL = "assistantfinal"

_ANSWER_TAG = re.compile(
    r"<\|?(?:(?P<end>/|end_(?:of_)?)|(?:begin|start)_(?:of_)?)?"
    r"(?:final[_ -]?answer|final|answer|response|output|solution)\|?>",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"\s{0,8}(?:<\|begin_of_text\|>|<bos>|<s>)?\s{0,8}"
    r"(?:<\|start_header_id\|>|<\|im_start\|>|<\|start\|>|<start_of_turn>)\s{0,4}"
    r"(?:assistant|model)\b(?:<\|end_header_id\|>|<\|message\|>)?"
)
_BARE_HEADER = re.compile(
    r"\s{0,8}assistant\s*\n", re.IGNORECASE
)  # where special tokens were dropped
_SPECIAL_TOKEN = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:pad|eos|bos|unk)>|<(?:start|end)_of_turn>|\[/?inst\]",
    re.IGNORECASE,
)


def without_thinking(text: str) -> str | None:
    """Return the answer in a generated text; ``None`` if the text is unfinished thinking."""
    spoken = _final_channel(text)
    if spoken is None:
        return None
    tags = list(_THINKING.finditer(spoken))
    if tags:
        if not any(tags[-1].groups()):
            return None
        spoken = spoken[tags[-1].end() :]
    spoken = _HEADER.sub("", _in_answer_tag(spoken), count=1)
    spoken = _BARE_HEADER.sub("", spoken, count=1)
    return next((piece for piece in _SPECIAL_TOKEN.split(spoken) if piece.strip()), "")


def _final_channel(text: str) -> str | None:
    """Return what the final channel says; ``None`` if there are channels, but no final one."""
    if "<|channel|>" in text:
        finals = list(_FINAL_CHANNEL.finditer(text))
        return text[finals[-1].end() :] if finals else None
    if _BARE_CHANNEL.match(text):
        _, final, answer = text.rpartition(_BARE_FINAL)
        return answer if final else None
    return text


def _in_answer_tag(text: str) -> str:
    """Return what stands in the answer tag; all of the text unless there is exactly one tag."""
    tags = list(_ANSWER_TAG.finditer(text))
    opening = [tag for tag in tags if not tag["end"]]
    if len(opening) != 1:
        return _ANSWER_TAG.sub(" ", text)
    begin = opening[0].end()
    end = next((tag.start() for tag in tags if tag.start() >= begin), len(text))
    return text[begin:end]

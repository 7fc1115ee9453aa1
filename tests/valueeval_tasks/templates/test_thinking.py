"""The answer among thinking, channels, tags and special tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates.thinking import without_thinking

WRAPPINGS = {
    "nothing": "{}",
    "think": "<think>\nNo.\n</think>\n\n{}",
    "think in brackets": "[THINK]No.[/THINK]{}",
    "Kimi": "◁think▷No.◁/think▷{}",
    "other names": "<thinking>No.</thinking><reflection>No.</reflection>{}",
    "opened in the prompt": "No, wait.\n</think>\n{}",
    "begin and end": (
        "<|begin_of_thought|>No.<|end_of_thought|><|begin_of_solution|>{}<|end_of_solution|>"
    ),
    "Cohere": "<|START_THINKING|>No.<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
    "channels": (
        "<|channel|>analysis<|message|>No.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>{}<|return|>"
    ),
    "channels without their tokens": "analysisWe think no.assistantfinal{}",
    "an answer tag": "<reasoning>No.</reasoning>\n<answer>{}</answer>",
    "an answer tag, cut off": "<answer>{}",
    "Llama 3": "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    "ChatML": "<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\nNo.",
    "Gemma": "<start_of_turn>model\n{}<end_of_turn>",
    "Mistral": "<s>{}</s>[INST] No. [/INST]",
    "a header without its tokens": "assistant\n\n{}",
}


@pytest.mark.parametrize("wrapping", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("answer", ["yes", "1. yes\n2. no", "Final answer: Face"])
def test_the_answer_is_found(wrapping: str, answer: str) -> None:
    found = without_thinking(wrapping.format(answer))
    assert found is not None
    assert found.strip() == answer


@pytest.mark.parametrize(
    "text",
    [
        *("<think>yes", "yes<think>", "<think>a</think><think>yes", "[THINK]yes", "◁think▷yes"),
        *("<|channel|>analysis<|message|>yes", "analysisWe think yes.", "<reasoning>yes"),
    ],
)
def test_unfinished_thinking_is_no_answer(text: str) -> None:
    assert without_thinking(text) is None


def test_tags_around_each_of_many_answers_are_marks() -> None:
    text = "1. <answer>yes</answer>\n2. <answer>no</answer>"
    assert (without_thinking(text) or "").split() == ["1.", "yes", "2.", "no"]


@given(st.text(alphabet="<>|/[]think answer\n◁▷"))
def test_any_text(text: str) -> None:
    found = without_thinking(text)
    assert found is None or len(found) <= 2 * len(text)

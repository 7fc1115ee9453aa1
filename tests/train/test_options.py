"""Options that do not go together."""

from __future__ import annotations

import pytest
from training import (
    shorten_answers,
)

from valueeval.tasks.errors import ValueEvalError
from valueeval.train.command_line import parse_config

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--template bca", "method: 'full' trains a classifier head.*prompt\\+full"),
        ("--template bca --method head", "head'.*take --method prompt-tuning or lora"),
        ("--method prompt+full", "needs a --template"),
        ("--paraphrase 2", "no meaning without a --template"),
        ("--template bca --method lora --paraphrase 0", "paraphrase: 0; allowed: 1 or more"),
        ("--template bca --method lora --heads multiple", "heads: 'multiple' has no meaning"),
        (
            "--template cot --method lora --loss focal",
            "loss: 'focal' has no meaning with --template cot, .*take --template bca or cls",
        ),
        (
            "--template mbc --method lora --thresholds per-value",
            "thresholds: 'per-value' has no meaning with --template mbc, whose answers are text",
        ),
        (
            "--template mbc --method lora --pos_weight_power 1",
            "pos_weight_power: 1.0 has no meaning with --template mbc, .*take --template oa,",
        ),
        ("--template bca --method lora --dropout 0", "leave it out, or train without --template"),
        ("--template cls --method lora --contrastive joint", "contrastive: 'joint'"),
        ("--template oa --method lora --teacher A", "teacher: has no meaning with --template oa"),
        ("--template xyz --method lora", "template: 'xyz'; allowed: 'cls', 'mbc', 'bca'"),
        ("--template bcaa --method lora", r"; did you mean bca\?"),
    ],
)
def test_options_that_do_not_go_together(words: str, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        parse_config([*words.split(), "--output", "x"])

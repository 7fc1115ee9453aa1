"""The questions and right answers that training makes of a template."""

from __future__ import annotations

from pathlib import Path

import pytest
from template_runs import config_of
from training import (
    shorten_answers,
)

from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.tasks.templates.decide import decide
from valueeval.train.run import train
from valueeval.train.templates.questions import answered

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


def test_right_answers_end_and_hold_no_label_of_the_document(
    tiny_gpt2: Path, data_dir: Path
) -> None:
    task = load_task("cot", 1, "validation", str(data_dir))
    data = load_set("validation", data_dir)
    (request,) = answered(task, questions(task, data.arguments)[0], data.labels[0], "<end>")
    assert request.args[1].endswith("<end>")
    assert "labels" not in request.doc
    named = decide("cot", [request.args[1].removesuffix("<end>")]).prediction
    assert named == tuple(data.labels[0].tolist())


def test_a_paraphrase_that_is_not_there(tiny_gpt2: Path, data_dir: Path, tmp_path: Path) -> None:
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "x", template="bca", method="lora", paraphrase=9
    )
    with pytest.raises(ValueEvalError, match="paraphrase: 9; allowed: 1 to 3"):
        train(config)

"""Configurations of the studies, of earlier versions, and the command at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from language_models import write_lively
from template_runs import check_adapter, check_texts, config_of
from training import (
    shorten_answers,
    stop_training,
    train_noting_answers,
    write_language_model,
)

from valueeval.train.cli import summary
from valueeval.train.command_line import parse_config
from valueeval.train.options import changed
from valueeval.train.run import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[3] / "studies" / "training").glob("*.yaml"))
)
def test_configurations_of_studies_train_small_models_of_the_family(
    file: Path, request: pytest.FixtureRequest, data_dir: Path, tmp_path: Path
) -> None:
    assert f"[{file.name}](training/{file.name})" in (file.parents[1] / "README.md").read_text(
        "utf-8"
    )
    config = parse_config(["--config", str(file), "--output", str(tmp_path / "a")])
    family = file.name.partition("-")[0]
    if family == "qwen2.5":
        tiny = write_language_model(
            tmp_path / "tiny", "qwen2", request.getfixturevalue("tiny_gpt2")
        )
    else:
        tiny = request.getfixturevalue(f"tiny_{family}")
    base = write_lively(tmp_path / "base", tiny, "seq2seq" if family == "t5" else "causal")
    small = {"base": str(base), "revision": None, "epochs": 1, "batch_size": 2}
    config = changed(config, **small, data_dir=str(data_dir), precision="float32")
    _, said = train_noting_answers(config)
    assert (
        check_adapter(tmp_path / "a", config.template.name, data_dir).method == config.method.name
    )
    if config.template.generated:
        check_texts(tmp_path / "a", base, config.template.name, data_dir, said)


def test_what_an_earlier_version_did_not_write_down(
    tiny_gpt2: Path, data_dir: Path, tmp_path: Path
) -> None:
    """The loss of a template was bce and went without saying."""
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "a", template="bca", method="lora", checkpoint_seconds=0.0
    )
    config = changed(config, epochs=2)
    stop_training(config, 3)
    path = tmp_path / "a.training" / "run.json"
    run = json.loads(path.read_text("utf-8"))
    assert run["config"].pop("loss") == "bce"
    path.write_text(json.dumps(run), "utf-8")
    train(changed(config, resume=True))


def test_the_command_at_the_end_asks_as_training_did(
    tiny_gpt2: Path, data_dir: Path, tmp_path: Path
) -> None:
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "a", template="bca", method="lora", paraphrase=2
    )
    assert "\nlm_eval --tasks valueeval_bca_p2 --model valueeval" in summary(config, train(config))

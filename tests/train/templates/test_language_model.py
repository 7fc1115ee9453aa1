"""Language models trained with a template: save, load, and answer the same."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from language_models import load_base
from peft import PeftModel
from safetensors.torch import load_file
from template_runs import (
    CUES,
    SOFT_PROMPTS,
    check_adapter,
    check_gradients,
    check_texts,
    config_of,
    cue_of,
    in_training,
    plain_score,
    talkative_t5,
)
from training import (
    harness_answers,
    kill_training,
    load_lm,
    shorten_answers,
    stop_training,
    train_noting_answers,
    write_language_model,
)

from valueeval.adapters.classifier.classifier import load_tokenizer
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.reading.types import EncodedPair
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.templates.decide import decide
from valueeval.train.config.config import ThresholdsName, TrainConfig
from valueeval.train.config.model import GENERATED
from valueeval.train.objectives.losses import DistributionBalancedLoss, FocalLoss
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.runtime.processes import Processes
from valueeval.train.templates.language_model import EvaluateAnswers

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


FILES = {
    "README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.jsonl",
    "valueeval.json",
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


def test_refuses_quantised_weights(base: Path, data_dir: Path, tmp_path: Path) -> None:
    quantised = shutil.copytree(base, tmp_path / "base")
    config = json.loads((quantised / "config.json").read_text("utf-8"))
    config["quantization_config"] = {"quant_method": "fp8"}
    (quantised / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ValueEvalError, match=r"are quantised \(fp8\)"):
        train(config_of(quantised, data_dir, tmp_path / "a", template="bca", method="lora"))


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS, "prompt+full"])
def test_every_method_reads_back(
    talkative: Path, backend: str, data_dir: Path, tmp_path: Path, method: str
) -> None:
    config = config_of(talkative, data_dir, tmp_path / "a", template="bca", method=method)
    train(config)
    manifest = check_adapter(tmp_path / "a", "bca", data_dir)
    check_against_stock_peft(config, backend, data_dir, manifest)
    files = {path.name for path in (tmp_path / "a").iterdir()}
    if method == "prompt+full":
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= files
        assert manifest.parameters.trainable == manifest.parameters.total
        return
    assert files == FILES
    base = load_base(talkative, backend)
    size = sum(p.numel() for p in base.parameters())
    assert manifest.parameters.total == size + manifest.parameters.trainable
    held = load_file(tmp_path / "a" / "adapter_model.safetensors")
    if method == "prompt-tuning":
        assert [tuple(t.shape) for t in held.values()] == [(20, base.config.hidden_size)]


def test_a_base_stored_in_bfloat16_decides_as_in_training(
    base: Path, backend: str, data_dir: Path, tmp_path: Path
) -> None:
    """Thresholds are chosen in float32, between answers that bfloat16 would round together."""
    stored = tmp_path / "base"
    load_base(base, backend).to(torch.bfloat16).save_pretrained(stored)
    load_tokenizer(base).save_pretrained(stored)
    train(config_of(stored, data_dir, tmp_path / "a", template="bca", method="lora"))
    check_adapter(tmp_path / "a", "bca", data_dir)
    assert load_lm(tmp_path / "a", 4).model.dtype == torch.float32


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS])
def test_stock_peft_says_the_same(
    talkative: Path, backend: str, data_dir: Path, tmp_path: Path, method: str
) -> None:
    config = config_of(talkative, data_dir, tmp_path / "a", template="cls", method=method)
    manifest = train(config)
    check_against_stock_peft(config, backend, data_dir, manifest)


def check_against_stock_peft(
    config: TrainConfig, backend: str, data_dir: Path, manifest: Manifest
) -> None:
    """One prompt at a time, by PEFT's own forward pass of the adapter's files."""
    base, folder, template = Path(config.base), Path(config.output), config.template.name
    if config.method.name == "prompt+full":
        stock = load_base(folder, backend)
    else:
        stock = PeftModel.from_pretrained(load_base(base, backend), folder).eval()
    _, (lm, _), requests = in_training(config, data_dir)
    encoded = [[prompt.tokens for prompt in lm.fit(document)] for document in requests]
    logits = stock_logits(stock, backend, template, encoded)
    exact = stock_logits(stock.double(), backend, template, encoded)
    cuts = np.array(manifest.thresholds.values)
    ours = harness_logits(folder, template, data_dir) + np.log(cuts / (1 - cuts))
    # How much float32 rounds depends on the model, on the method and on the processor: PEFT's own
    # distance from float64 tells it. Another order of the same sums may be several times as far.
    rounding = np.abs(logits - exact).max()
    assert rounding < 1e-3 * np.abs(exact).max()
    np.testing.assert_allclose(ours, exact, rtol=0, atol=max(5 * rounding, 1e-5))
    truth = load_set("validation", data_dir).labels
    assert score(truth, manifest.thresholds.decide(logits)) == manifest.validation


def stock_logits(
    stock: Any, backend: str, template: str, encoded: Sequence[Sequence[EncodedPair]]
) -> Any:
    """Logits (arguments, 20), one prompt at a time."""
    with torch.no_grad():
        said = [
            [(float(plain_score(stock, backend, *one)), False) for one in document]
            for document in encoded
        ]
    return np.array([decide(template, answers).scores for answers in said])


def harness_logits(folder: Path, template: str, data_dir: Path) -> Any:
    """Logits less thresholds, (arguments, 20), by `--model valueeval`."""
    answers = harness_answers(load_lm(folder, 4), template, data_dir)
    return np.array([decide(template, document).scores for document in answers])


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS, "prompt+full"])
@pytest.mark.parametrize("family", ["llama", pytest.param("qwen2", marks=pytest.mark.slow)])
def test_families_of_larger_models(
    family: str, method: str, tiny_bert: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Grouped queries and rotary positions; a tokenizer that puts a beginning before every text."""
    base = write_language_model(tmp_path / "base", family, tiny_bert)
    config = config_of(base, data_dir, tmp_path / "a", template="bca", method=method)
    config = changed(config, max_tokens_per_microbatch=512, learning_rate=0.01)
    model, (lm, asked), requests = in_training(config, data_dir)
    check_gradients(model, "causal", lm, asked, requests)
    manifest = train(config)
    check_adapter(tmp_path / "a", "bca", data_dir)
    check_against_stock_peft(config, "causal", data_dir, manifest)


@pytest.fixture(scope="module")
def talkative(base: Path, backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model whose texts depend on the argument; those of the lively T5 do not."""
    if backend == "causal":
        return base
    folder = tmp_path_factory.mktemp("talkative")
    tokenizer = load_tokenizer(base)
    talkative_t5(tokenizer, _said_of_every_argument()).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _said_of_every_argument() -> list[str]:
    """The prompts about an argument without words."""
    nothing = Argument("", "", "against", "")
    said = []
    for template in ("cls", *GENERATED):
        task = load_task(template, 1, "sample", None)
        said += [request.args[0] for request in questions(task, [nothing])[0]]
    return said


# Far enough from where they start for other answers.
RATES = {"lora": 0.02, "prompt-tuning": 0.3, "p-tuning": 0.05, "prefix-tuning": 0.3}


@pytest.mark.parametrize(
    ("template", "method"),
    [(template, "lora") for template in ("cls", *GENERATED)]
    + [("cot", method) for method in SOFT_PROMPTS],
)
def test_every_template_reads_back(
    talkative: Path, backend: str, data_dir: Path, tmp_path: Path, template: str, method: str
) -> None:
    # The constructed T5 keeps to its words for longer.
    rate = 0.3 if (backend, template) == ("seq2seq", "mbc") else RATES[method]
    options = {"template": template, "method": method, "learning_rate": rate}
    _, said = train_noting_answers(config_of(talkative, data_dir, tmp_path / "a", **options))
    check_adapter(tmp_path / "a", template, data_dir)
    if template in GENERATED:
        check_texts(tmp_path / "a", talkative, template, data_dir, said)
        # So has the argument, but for a T5 that has learned to say one list.
        assert (backend, template) == ("seq2seq", "mbc") or any(one != said[0] for one in said)


@pytest.mark.parametrize("word", CUES)
def test_answers_in_full_are_parsed_after_reading_back(
    echo: Path, all_yes: Path, tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Template mbc: 20 times yes, or no."""
    shorten_answers(monkeypatch, 20)
    config = cue_of(echo, all_yes, tmp_path / "a", word, template="mbc", thresholds="shrunk")
    manifest, said = train_noting_answers(changed(config, learning_rate=1e-9))
    assert [text.split() for (text,) in said] == [[word] * 20] * 2
    assert manifest.validation["unparsed"] == 0.0
    assert manifest.validation["macro_f1"] == (word == "yes")
    check_adapter(tmp_path / "a", "mbc", all_yes)
    for batch_size in (1, 8):
        assert harness_answers(load_lm(tmp_path / "a", batch_size), "mbc", all_yes) == said


@pytest.mark.parametrize("signal_of", [pytest.param("SIGINT", marks=pytest.mark.slow), "SIGKILL"])
def test_a_killed_run_goes_on_to_the_same_weights(
    tiny_t5: Path, data_dir: Path, tmp_path: Path, signal_of: str
) -> None:
    options = {"template": "bca", "method": "prompt+full", "checkpoint_seconds": 0.0}
    whole = config_of(tiny_t5, data_dir, tmp_path / "whole", **options)
    whole = changed(whole, epochs=2)
    train(whole)
    stopped = changed(whole, output=str(tmp_path / "stopped"))
    if signal_of == "SIGKILL":
        kill_training(stopped, 2)
    else:
        stop_training(stopped, 3)
    train(changed(stopped, resume=True))
    weights = [load_file(tmp_path / n / "model.safetensors") for n in ("whole", "stopped")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("thresholds", ["half", "shrunk"])
def test_answers_that_are_not_finite_are_told_as_such(thresholds: ThresholdsName) -> None:
    """Of one argument of three: the run is said to have diverged."""
    answers = [(-1.0, False)] * 2 * 40 + [(math.nan, False)] * 40
    lm: Any = SimpleNamespace(
        weights_changed=lambda: None,
        generate_until=None,
        loglikelihood=lambda requests, disable_tqdm: answers,
    )
    asked: Any = [[None] * 40] * 3
    truth = np.ones((3, 20), dtype=bool)
    evaluate = EvaluateAnswers(lm, "cls", asked, truth, thresholds, Processes())
    assert not evaluate(torch.nn.Identity()).finite


def test_an_encoder_cannot_answer_in_words(tiny_bert: Path, data_dir: Path, tmp_path: Path) -> None:
    config = config_of(tiny_bert, data_dir, tmp_path / "x", template="bca", method="lora")
    with pytest.raises(ValueEvalError, match=r"\(bert\) is no language model.*leave --template"):
        train(config)


@pytest.mark.parametrize("template", ["bca", "cls"])
@pytest.mark.parametrize("loss", ["focal", "distribution-balanced"])
def test_every_loss_of_logits(
    tiny_gpt2: Path, data_dir: Path, tmp_path: Path, template: str, loss: str
) -> None:
    """They are those of a classifier, of the logits that log-likelihoods give."""
    config = config_of(tiny_gpt2, data_dir, tmp_path / "a", template=template, method="lora")
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    kind = {"focal": FocalLoss, "distribution-balanced": DistributionBalancedLoss}[loss]
    forward = kind.forward

    def noted(self: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append((logits, labels))
        return forward(self, logits, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "forward", noted)
        manifest = train(changed(config, loss=loss, epochs=1))
    assert (manifest.objective, manifest.config["loss"]) == (loss, loss)
    assert all(logits.shape == labels.shape and logits.shape[1] == 20 for logits, labels in seen)
    with pytest.raises(ValueEvalError, match=rf"another run \(.*loss '{loss}' there, 'bce' here"):
        train(changed(config, epochs=1, resume=True))
